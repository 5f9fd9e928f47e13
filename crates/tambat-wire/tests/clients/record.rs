//! Starts a client against a socket of ours, and keeps what it sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lead::{Lead, Led};
use crate::table::{Client, SILENT};

/// What is for Go has to be compiled, and machines are busy.
const WITHIN: Duration = Duration::from_mins(1);

/// Who says nothing for so long waits for a greeting.
const SILENCE: Duration = Duration::from_millis(700);

/// A client that runs, and ends with this value.
pub(crate) struct Running(Child);

impl Running {
    /// In a folder of its own, without anything of ours in its environment.
    pub(crate) fn start(command: &mut Command, home: &tempfile::TempDir) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", home.path())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// What it wrote to stderr, once it has ended by itself.
    pub(crate) fn output(mut self) -> String {
        let mut output = Vec::new();
        let _ = self.0.stderr.take().map(|mut stderr| stderr.read_to_end(&mut output));
        String::from_utf8_lossy(&output).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the client sent, turn by turn, and what it wrote to stderr when its connection was over.
pub(crate) fn record(client: &Client) -> (Vec<Vec<u8>>, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(&mut (client.command)(port, home.path()), &home);
    let mut stream = accept(&listener);
    let turns = converse(&mut stream, client);
    drop(stream);
    drop(listener);
    let output = if client.says.is_empty() { String::new() } else { running.output() };
    (turns, output)
}

/// The next connection.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + WITHIN;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_write_timeout(Some(WITHIN)).unwrap();
                return stream;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "nobody has connected");
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn converse(stream: &mut TcpStream, client: &Client) -> Vec<Vec<u8>> {
    let mut lead = Lead::new();
    let mut turns = Vec::new();
    let mut received = Vec::new();
    let mut turn_begins = 0;
    stream.set_read_timeout(Some(if client.told == SILENT { SILENCE } else { WITHIN })).unwrap();
    loop {
        match lead.on(&received) {
            Led::Waiting => {
                let mut chunk = [0; 4_096];
                match stream.read(&mut chunk) {
                    Ok(0) => panic!("{}: closed after {}", client.name, received.escape_ascii()),
                    Ok(length) => received.extend_from_slice(&chunk[..length]),
                    Err(error) if client.told == SILENT && error.kind() == ErrorKind::WouldBlock => return turns,
                    Err(error) => panic!("{}: {error}", client.name),
                }
            }
            Led::Send(said) => {
                turns.push(received[turn_begins..].to_vec());
                turn_begins = received.len();
                stream.write_all(&said).unwrap();
            }
            Led::Reply(said) => {
                turns.push(received.split_off(turn_begins));
                (received, turn_begins) = (Vec::new(), 0);
                stream.write_all(&said).unwrap();
            }
            Led::Refused(said, _) => {
                turns.push(received.split_off(turn_begins));
                stream.write_all(&said).unwrap();
                return turns;
            }
            Led::Over(_) => {
                turns.push(received.split_off(turn_begins));
                return turns;
            }
        }
    }
}
