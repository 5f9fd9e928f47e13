//! A server that speaks TLS itself: OpenSSL's, which turns lines around, and its client.

use super::{Client, failed, spoken, stop_by_term};
use crate::support::{AppDir, Ca, programs};

#[test]
fn it_is_ready_when_it_takes_part_in_a_handshake() {
    programs::openssl();
    let ca = Ca::new("tambat test CA");
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nuses = [\"echo\"]\n\
         [processes.echo]\n\
         command = \"exec openssl s_server -accept 127.0.0.1:$PORT -cert echo.pem -key echo.key -rev -quiet\"\n\
         protocol = \"tls\"\n",
    )
    .file("ca.pem", ca.pem());
    ca.signs(&["echo.example.com"]).write(&app, "echo");
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("echo");
    let to = format!("127.0.0.1:{port}");
    assert_eq!(app.environment("web")["ECHO_URL"], format!("tls://{to}"));
    let mut command = app.any_command("openssl");
    command.args(["s_client", "-connect", &to, "-servername", "echo.example.com", "-verify_return_error", "-CAfile"]);
    command.args(["ca.pem", "-quiet"]);
    // Two at once: the server has one connection at a time, and readiness has left it.
    let client = Client::start(command, "uyA\n", "Ayu");
    stop_by_term(&app, "echo", &mut running, Some(client));
    let spoken = spoken(&app, "echo");
    assert!(spoken.contains("it speaks TLS on PORT"), "{spoken}");
}

#[test]
fn a_client_of_one_that_failed_is_told_by_an_alert() {
    programs::openssl();
    let (app, mut running) = failed("tls");
    let to = format!("127.0.0.1:{}", app.port("back"));
    let told = app.program("openssl", &["s_client", "-connect", &to]).must_be(1);
    assert!(told.stderr.contains("alert internal error"), "{told:?}");
    assert_eq!(running.stop(), 0);
}
