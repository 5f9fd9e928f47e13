//! A server of SMTP, which greets first: aiosmtpd, and Python's own client.

use super::{Client, WHY, failed, spoken, stop_by_term};
use crate::support::{AppDir, programs};

/// Sends one message by the port in its argument.
const SEND: &str = "import smtplib, sys\n\
    with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:\n    \
    client.sendmail('a@example.com', 'b@example.com', 'Subject: ship\\n\\nAyu')\n";

/// Stays connected until it reads the end of its input.
const STAY: &str = "import smtplib, sys\n\
    client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]))\n\
    print(client.noop(), flush=True)\nsys.stdin.read()\n";

#[test]
fn mail_that_is_sent_while_it_starts_is_taken() {
    let python = programs::aiosmtpd();
    let app = AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nuses = [\"mail\"]\n\
         [processes.mail]\n\
         command = \"exec {} -m aiosmtpd -n -d -l 127.0.0.1:$PORT -c aiosmtpd.handlers.Mailbox mail\"\n\
         protocol = \"smtp\"\n",
        python.display()
    ));
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("mail");
    app.program("/usr/bin/python3", &["-c", SEND, &port.to_string()]).must_be(0);
    let mails: Vec<_> = std::fs::read_dir(app.path().join("mail/new")).unwrap().map(Result::unwrap).collect();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(std::fs::read_to_string(mail.path()).unwrap().ends_with("Ayu\n"));
    assert_eq!(app.environment("web")["MAIL_URL"], format!("smtp://127.0.0.1:{port}"));
    // Readiness left as a client does.
    running.line(">> b'QUIT'");

    let mut command = app.any_command("/usr/bin/python3");
    command.args(["-c", STAY, &port.to_string()]);
    let client = Client::start(command, "", "250");
    stop_by_term(&app, "mail", &mut running, Some(client));
    let spoken = spoken(&app, "mail");
    assert!(spoken.contains("SMTP (220 "), "{spoken}");
}

#[test]
fn a_client_of_one_that_failed_reads_why() {
    let (app, mut running) = failed("smtp");
    let told = app.program("/usr/bin/python3", &["-c", SEND, &app.port("back").to_string()]).must_be(1);
    assert!(told.stderr.contains("SMTPConnectError: (421, ") && told.stderr.contains(WHY), "{told:?}");
    assert_eq!(running.stop(), 0);
}
