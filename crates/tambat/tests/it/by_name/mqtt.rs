//! MQTT: two brokers, by the name in TLS, which ends at the router.

use super::{NAMES, Stage};
use crate::support::programs;

#[test]
fn what_is_published_to_a_name_is_kept_by_its_broker() {
    programs::mosquitto();
    let stage = Stage::new(|name| {
        format!(
            "[processes.broker]\ncommand = \"exec /usr/sbin/mosquitto -p $PORT\"\nprotocol = \"mqtt\"\n\
             listen = \"127.0.0.1:0\"\nhosts = \"{name}.example\"\ntls = \"terminate\"\n"
        )
    });
    let (mut running, at) = stage.serve("broker");
    let port = at.port().to_string();
    let of = |host: &str, version: &str, program: &str, more: &[&str]| {
        let common = ["-h", host, "-p", &port, "--cafile", "ca.pem", "-V", version, "-t", "who"];
        stage.run(program, &[&common[..], more].concat())
    };
    for name in NAMES {
        of(&format!("{name}.example"), "mqttv5", "mosquitto_pub", &["-q", "1", "-r", "-m", name]).must_be(0);
    }
    for name in NAMES {
        for version in ["mqttv311", "mqttv5"] {
            let kept = of(&format!("{name}.example"), version, "mosquitto_sub", &["-C", "1", "-W", "20"]).must_be(0);
            assert_eq!(kept.stdout, format!("{name}\n"), "{version}");
        }
    }
    // Neither a name that nobody has nor an address.
    for host in ["nope.example", "127.0.0.1"] {
        let refused = of(host, "mqttv5", "mosquitto_pub", &["-q", "1", "-m", "x"]);
        assert!(refused.code != 0 && refused.stderr.contains("A TLS error occurred"), "{host}: {refused:?}");
    }
    assert_eq!(running.stop(), 0);
}
