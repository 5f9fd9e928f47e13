//! OpenSSH's server, and its client for files.

use super::{Client, WHY, failed, spoken, stop_by_term};
use crate::support::{AppDir, programs};

/// A server of files for the user it runs as, without privileges: it needs no place of root's then.
fn files() -> AppDir {
    programs::openssh();
    let command = "exec /usr/sbin/sshd -D -e -f none -p $PORT -h $PWD/host -o ListenAddress=127.0.0.1 -o PidFile=none \
        -o UsePAM=yes -o StrictModes=no -o AuthorizedKeysFile=$PWD/key.pub -o Subsystem='sftp internal-sftp' \
        -o ForceCommand=internal-sftp";
    let app = AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nuses = [\"files\"]\n\
         [processes.files]\ncommand = \"{command}\"\nprotocol = \"ssh\"\n"
    ))
    .file("none", "")
    .file("ships", "Ayu\n")
    .unprivileged();
    for key in ["host", "key"] {
        app.program("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key]).must_be(0);
    }
    app
}

/// Options of the client, for this port and the only user that there is.
fn at(app: &AppDir, port: u16) -> Vec<String> {
    let user = app.program("id", &["-un"]).must_be(0).stdout;
    let mut args: Vec<String> = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        .iter()
        .flat_map(|option| ["-o".to_owned(), (*option).to_owned()])
        .collect();
    args.extend(["-P", &port.to_string(), "-i", "key"].map(str::to_owned));
    args.push(format!("{}@127.0.0.1", user.trim_end()));
    args
}

#[test]
fn it_is_ready_when_it_names_its_version_and_serves_files() {
    let app = files();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("files");
    let folder = app.path().to_str().unwrap().to_owned();
    let get = format!("get {folder}/ships {folder}/got\n");
    let app = app.file("batch", get);
    let args = [vec!["-b".to_owned(), "batch".to_owned()], at(&app, port)].concat();
    app.program("sftp", &args.iter().map(String::as_str).collect::<Vec<_>>()).must_be(0);
    assert_eq!(std::fs::read_to_string(app.path().join("got")).unwrap(), "Ayu\n");
    assert_eq!(app.environment("web")["FILES_URL"], format!("ssh://127.0.0.1:{port}"));
    // Readiness left as a client does.
    running.line(":11: it was asked whether it is ready [preauth]");
    let broken = "Connection closed by remote host";
    assert!(running.stderr().iter().chain(&running.stdout()).all(|line| !line.contains(broken)));

    let mut command = app.any_command("sftp");
    command.args(at(&app, port));
    let client = Client::start(command, "pwd\n", "Remote working directory");
    stop_by_term(&app, "files", &mut running, Some(client));
    let spoken = spoken(&app, "files");
    assert!(spoken.contains("SSH (SSH-2.0-OpenSSH_"), "{spoken}");
}

#[test]
fn a_client_of_one_that_failed_is_shown_why() {
    programs::openssh();
    let (app, mut running) = failed("ssh");
    let port = app.port("back").to_string();
    let options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
    let told = app.program("ssh", &[&options[..], &["-p", &port, "nobody@127.0.0.1", "true"]].concat()).must_be(255);
    assert!(told.stderr.contains(&format!("port {port}:7: {WHY}")), "{told:?}");
    assert_eq!(running.stop(), 0);
}
