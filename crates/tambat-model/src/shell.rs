//! A command line, as it is given to the shell.

/// Words that mean something to the shell itself, so that `exec` before them would be wrong.
const SHELL_WORDS: [&str; 30] = [
    "!", ".", ":", "alias", "bg", "case", "cd", "command", "eval", "exec", "exit", "export", "fg", "for", "if",
    "local", "read", "readonly", "return", "set", "shift", "source", "test", "trap", "ulimit", "umask", "unset",
    "until", "wait", "while",
];

/// What `/bin/sh -c` gets: a simple command is preceded by `exec`, so that the pid is the app's and its signals reach
/// it; anything the shell must stay for is left as it is.
pub fn shell_command(command: &str) -> String {
    let command = command.trim();
    let compound = command.contains([';', '&', '|', '\n', '`', '(', ')', '{', '}']) && !only_braced_variables(command);
    let first = command.split_whitespace().next().unwrap_or_default();
    let assignment = first.split_once('=').is_some_and(|(name, _)| name.parse::<crate::VarName>().is_ok());
    if compound
        || assignment
        || first.is_empty()
        || SHELL_WORDS.contains(&first)
        || first.starts_with(['"', '\'', '<', '>', '#'])
    {
        return command.to_owned();
    }
    format!("exec {command}")
}

/// `${NAME}` has braces and is no compound command.
fn only_braced_variables(command: &str) -> bool {
    let mut rest = command;
    while let Some(at) = rest.find([';', '&', '|', '\n', '`', '(', ')', '{', '}']) {
        let Some(inner) = rest[..at].ends_with('$').then(|| rest[at..].strip_prefix('{')).flatten() else {
            return false;
        };
        let Some(end) = inner.find('}') else {
            return false;
        };
        if !inner[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return false;
        }
        rest = &inner[end + 1..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_command_is_the_process_itself() {
        assert_eq!(shell_command("python app.py"), "exec python app.py");
        assert_eq!(shell_command(" redis-server --port $PORT > log "), "exec redis-server --port $PORT > log");
        assert_eq!(shell_command("serve ${PORT}"), "exec serve ${PORT}");
    }

    #[test]
    fn what_the_shell_must_stay_for_is_left_alone() {
        for command in [
            "cd app && npm start",
            "A=1 python app.py",
            "exec x",
            "a; b",
            "a | b",
            "{ a; }",
            "(a)",
            "trap x TERM",
            "",
            "a &",
            "while true",
            "x $(date)",
            "x ${A:-;}",
        ] {
            assert_eq!(shell_command(command), command);
        }
    }
}
