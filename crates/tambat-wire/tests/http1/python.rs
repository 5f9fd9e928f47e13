//! Python's own HTTP modules, in a process that answers question after question.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::http1::reader::{Field, Message};

/// One that lives as long as this.
pub(crate) struct Python {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What it read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) messages: Vec<Message>,
    /// Why it read no further.
    pub(crate) broken: Option<String>,
    /// How many bytes it left.
    pub(crate) left: u64,
}

impl Python {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http1/oracle.py");
        let mut process = Command::new("python3")
            .arg("-I")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run python3: {error}: install Python 3.8 or later"));
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    /// The requests on a connection of a client.
    pub(crate) fn requests(&mut self, bytes: &[u8]) -> Read {
        self.ask(b"q", bytes)
    }

    /// The answers to so many requests, and whether each of them was a `HEAD`.
    pub(crate) fn responses(&mut self, bytes: &[u8], are_heads: &[bool]) -> Read {
        let mut question = b"s".to_vec();
        question.extend_from_slice(&u32::try_from(are_heads.len()).unwrap().to_be_bytes());
        question.extend(are_heads.iter().map(|is_head| u8::from(*is_head)));
        self.ask(&question, bytes)
    }

    fn ask(&mut self, kind: &[u8], bytes: &[u8]) -> Read {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let questions = self.questions.as_mut().unwrap();
        questions.write_all(&[kind, &length, bytes].concat()).unwrap();
        questions.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let messages = answer["messages"].as_array().unwrap().iter().map(message).collect();
        let broken = answer["broken"].as_str().map(str::to_owned);
        Read { messages, broken, left: answer["left"].as_u64().unwrap() }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends with its questions.
        drop(self.questions.take());
        drop(self.process.wait());
    }
}

fn message(value: &Value) -> Message {
    Message {
        start: value["start"].as_str().unwrap().to_owned(),
        fields: fields(&value["fields"]),
        body: value["body"].as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect(),
        trailers: fields(&value["trailers"]),
        is_whole: value["whole"].as_bool().unwrap(),
    }
}

fn fields(value: &Value) -> Vec<Field> {
    let pair = |pair: &Value| Field::new(pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    value.as_array().unwrap().iter().map(pair).collect()
}
