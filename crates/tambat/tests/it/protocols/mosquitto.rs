//! mosquitto, a broker of MQTT: clients speak first.

use super::{Client, failed, spoken, stop_by_term};
use crate::support::{AppDir, Output, programs};

fn broker() -> AppDir {
    programs::mosquitto();
    AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nuses = [\"broker\"]\n\
         [processes.broker]\ncommand = \"exec /usr/sbin/mosquitto -p $PORT\"\nprotocol = \"mqtt\"\n",
    )
    .unprivileged()
}

fn publish(app: &AppDir, port: u16, version: &str) -> Output {
    let port = port.to_string();
    app.program(
        "mosquitto_pub",
        &["-V", version, "-p", &port, "-h", "127.0.0.1", "-t", "ships", "-q", "1", "-r", "-m", "Ayu"],
    )
}

#[test]
fn what_is_published_while_it_starts_is_read_by_a_subscriber() {
    let app = broker();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("broker");
    publish(&app, port, "mqttv5").must_be(0);
    let number = port.to_string();
    for version in ["mqttv311", "mqttv5"] {
        let subscribe = ["-V", version, "-h", "127.0.0.1", "-p", &number, "-t", "ships", "-C", "1", "-W", "20"];
        assert_eq!(app.program("mosquitto_sub", &subscribe).must_be(0).stdout, "Ayu\n", "{version}");
    }
    assert_eq!(app.environment("web")["BROKER_URL"], format!("mqtt://127.0.0.1:{port}"));
    // Readiness left as a client does.
    running.line(" disconnected.");
    let broken = "closed its connection";
    assert!(running.stdout().iter().all(|line| !line.contains(broken)), "{:?}", running.stdout());

    let mut command = app.any_command("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &number, "-t", "ships"]);
    let client = Client::start(command, "", "Ayu");
    stop_by_term(&app, "broker", &mut running, Some(client));
    let spoken = spoken(&app, "broker");
    assert!(spoken.contains("it speaks mqtt on PORT"), "{spoken}");
}

#[test]
fn a_client_of_one_that_failed_is_told_that_it_is_unavailable() {
    programs::mosquitto();
    let (app, mut running) = failed("mqtt");
    for (version, says) in [("mqttv311", "broker unavailable"), ("mqttv5", "Server unavailable")] {
        let told = publish(&app, app.port("back"), version);
        assert!(told.code != 0 && told.stderr.contains(says), "{version}: {told:?}");
    }
    assert_eq!(running.stop(), 0);
}
