use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, fchown, getppid, setgid, setgroups, setsid, setuid,
};

use crate::frame::{Decoder, Encoder, ProtocolError};
use crate::{Pid, StopSpec, WinSize, sys};

/// One command to run as an instance.
#[derive(Clone)]
pub struct CommandSpec {
    /// Program and arguments; at least the program. Without a `/` it is looked for in the `PATH` of `env`; with
    /// one, a relative program is relative to `dir`.
    pub argv: Vec<OsString>,
    /// The directory it runs in; a relative one is relative to the caller's.
    pub dir: PathBuf,
    /// Its whole environment: nothing is inherited. The kernel takes up to 128 KiB a variable, and usually 2 MiB in
    /// all (execve(2)); more is reported as not started, E2BIG.
    pub env: Vec<(OsString, OsString)>,
    /// What is behind its file descriptors 0, 1 and 2.
    pub stdio: StdioSpec,
    /// How it is ended when nobody is left to say so: tambat has died, or the command went to the background.
    pub stop: StopSpec,
    /// How long what the command leaves behind may go on before it is asked to end, too. Zero for whoever only wants
    /// it gone; more for whoever wants to see whether it goes by itself. In whole milliseconds.
    pub linger: Duration,
    /// Who it runs as; `None`: who tambat runs as. Only root can run it as somebody else.
    pub user: Option<User>,
}

/// A user of the machine, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group, the only one that the command is in.
    pub gid: u32,
}

/// What is behind a command's standard input, output and error. It has no other file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StdioSpec {
    /// All three are one pseudo-terminal of this size, the controlling terminal of the command's session.
    Pty(WinSize),
    /// Standard input is a pipe that stays open and empty (never `/dev/null`: bundlers in watch mode exit at the
    /// end of input); output and error are a pipe each.
    Pipes,
}

impl fmt::Debug for CommandSpec {
    /// Without the values of the environment, which hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("CommandSpec")
            .field("argv", &self.argv)
            .field("dir", &self.dir)
            .field("env", &names)
            .field("stdio", &self.stdio)
            .field("stop", &self.stop)
            .field("linger", &self.linger)
            .field("user", &self.user)
            .finish()
    }
}

impl CommandSpec {
    /// What [`become_command`] reads: checked here, where somebody can be told.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(invalid("cannot start a command without a program".to_owned()));
        }
        if let Some(argument) = self.argv.iter().find(|argument| argument.as_bytes().contains(&0)) {
            return Err(invalid(format!("cannot pass the argument {}: it contains a NUL byte", argument.display())));
        }
        for (name, value) in &self.env {
            let bytes = name.as_bytes();
            if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
                return Err(invalid(format!(
                    "cannot set the variable {}: no environment can hold that name",
                    name.display()
                )));
            }
            if value.as_bytes().contains(&0) {
                return Err(invalid(format!(
                    "cannot set the variable {}: its value contains a NUL byte",
                    name.display()
                )));
            }
        }
        let dir = std::path::absolute(&self.dir)?;
        let argv = self.argv.iter().fold(Encoder::new().count(self.argv.len()), |to, a| to.bytes(a.as_bytes()));
        let env = self.env.iter().fold(argv.count(self.env.len()), |to, (name, value)| {
            to.bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat())
        });
        let user = self.user.map(|user| [user.uid.to_ne_bytes(), user.gid.to_ne_bytes()].concat()).unwrap_or_default();
        Ok(env.bytes(dir.as_os_str().as_bytes()).bytes(&user).finish())
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// The files that become 0, 1 and 2.
#[derive(Debug)]
pub(crate) enum ChildStdio {
    Pty(OwnedFd),
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
}

/// Why there is no command: to be read after "cannot".
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

impl StartError {
    pub(crate) fn new(step: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self { step: step.into(), errno: error.into().raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// Turns this process, a fresh child of `keeper`, into the command that the file `spec` holds. All that is big is
/// read here and not in the keeper, which stays small.
pub(crate) fn become_command(spec: &File, stdio: &ChildStdio, keeper: Pid) -> Result<Infallible, StartError> {
    setsid().map_err(|e| StartError::new("open a session for the command", e))?;
    let image = read_whole(spec).map_err(|e| StartError::new("read what to run", e))?;
    let image = Image::decode(&image).map_err(|_| StartError::new("read what to run", Errno::EBADMSG))?;
    wire(stdio)?;
    if let Some(user) = image.user {
        become_user(user, stdio)?;
    }
    // After a change of user, which takes it away (PR_SET_PDEATHSIG(2const)).
    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|e| StartError::new("tie the command to its keeper", e))?;
    if getppid().as_raw() != keeper.get() {
        // The keeper died before the line above could matter, and nobody is left to read this.
        return Err(StartError::new("find the keeper", Errno::ESRCH));
    }
    sys::close_on_exec_from(3);
    chdir(image.dir).map_err(|e| StartError::new(format!("enter the directory {}", image.dir.display()), e))?;
    sys::reset_signal_actions();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|e| StartError::new("unblock signals", e))?;
    execute(&image)
}

fn read_whole(spec: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(spec.metadata()?.len()).map_err(io::Error::other)?;
    let mut image = vec![0; length];
    spec.read_exact_at(&mut image, 0)?;
    Ok(image)
}

fn wire(given: &ChildStdio) -> Result<(), StartError> {
    let (stdin, stdout, stderr) = match given {
        ChildStdio::Pty(slave) => {
            sys::take_controlling_terminal(slave.as_fd())
                .map_err(|e| StartError::new("take the pseudo-terminal", e))?;
            (slave, slave, slave)
        }
        ChildStdio::Pipes { stdin, stdout, stderr } => (stdin, stdout, stderr),
    };
    dup2_stdin(stdin)
        .and_then(|()| dup2_stdout(stdout))
        .and_then(|()| dup2_stderr(stderr))
        .map_err(|e| StartError::new("connect standard input and output", e))
}

/// For good. What is behind the standard files becomes the user's: a program that opens `/dev/stderr` anew, as Apache
/// does, may do so only with its own.
fn become_user(user: User, given: &ChildStdio) -> Result<(), StartError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let error = |e| StartError::new(format!("become the user {uid}"), e);
    let files = match given {
        ChildStdio::Pty(slave) => vec![slave],
        ChildStdio::Pipes { stdin, stdout, stderr } => vec![stdin, stdout, stderr],
    };
    files.into_iter().try_for_each(|file| fchown(file, Some(uid), Some(gid))).map_err(error)?;
    setgroups(&[gid]).and_then(|()| setgid(gid)).and_then(|()| setuid(uid)).map_err(error)
}

/// A decoded specification.
struct Image<'a> {
    argv: Vec<CString>,
    env: Vec<CString>,
    dir: &'a Path,
    user: Option<User>,
}

impl<'a> Image<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        let text = |of: &mut Decoder<'_>| CString::new(of.bytes()?).map_err(|_| ProtocolError::Value("text"));
        let mut fields = Decoder::of_whole_frame(bytes)?;
        let (argv, env) = (fields.list(text)?, fields.list(text)?);
        let dir = Path::new(std::ffi::OsStr::from_bytes(fields.bytes()?));
        let user = match fields.bytes()? {
            [] => None,
            numbers => {
                let split = numbers.split_first_chunk().zip(numbers.last_chunk());
                let ((uid, _), gid) = split.ok_or(ProtocolError::Value("user"))?;
                Some(User { uid: u32::from_ne_bytes(*uid), gid: u32::from_ne_bytes(*gid) })
            }
        };
        fields.finish()?;
        Ok(Self { argv, env, dir, user })
    }
}

/// Where programs are looked for when the environment has no PATH: what execvp(3) takes, with the local ones first.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

fn execute(image: &Image<'_>) -> Result<Infallible, StartError> {
    let program = image.argv.first().ok_or_else(|| StartError::new("read what to run", Errno::EBADMSG))?;
    let shown = program.to_string_lossy();
    if program.as_bytes().contains(&b'/') {
        let errno = match execve(program, &image.argv, &image.env) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        // ENOENT also stands for the program in a script's first line, or for a missing loader.
        let step = if errno == Errno::ENOENT && exists(program) {
            format!("execute {shown}: the interpreter that it names")
        } else {
            format!("execute {shown}")
        };
        return Err(StartError::new(step, errno));
    }
    let mut refused = None;
    for candidate in candidates(program, &image.env) {
        match execve(&candidate, &image.argv, &image.env) {
            Ok(never) => match never {},
            // As execvp(3): another directory may have one that may be executed.
            Err(Errno::EACCES) if exists(&candidate) => {
                refused = Some(StartError::new(execute_step(&candidate), Errno::EACCES));
            }
            // A directory that is closed to us is not worth a word.
            Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(StartError::new(execute_step(&candidate), errno)),
        }
    }
    Err(refused.unwrap_or_else(|| StartError::new(format!("find the program {shown} in PATH"), Errno::ENOENT)))
}

fn exists(program: &CStr) -> bool {
    Path::new(std::ffi::OsStr::from_bytes(program.to_bytes())).exists()
}

fn execute_step(candidate: &CStr) -> String {
    format!("execute {}", candidate.to_string_lossy())
}

/// Every place of PATH where `program` may be; an empty place is the current directory.
fn candidates(program: &CStr, env: &[CString]) -> Vec<CString> {
    let path = env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .filter_map(|place| {
            let place = if place.is_empty() { b"." } else { place };
            CString::new([place, b"/", program.to_bytes()].concat()).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    fn spec() -> CommandSpec {
        CommandSpec {
            argv: vec!["sh".into(), "-c".into(), "echo hello".into()],
            dir: "/tmp".into(),
            env: vec![("PATH".into(), "/a::/b".into()), ("PASSWORD".into(), "hunter2".into())],
            stdio: StdioSpec::Pipes,
            stop: StopSpec { signal: Signal::TERM, grace: Duration::from_secs(5) },
            linger: Duration::ZERO,
            user: Some(User { uid: 1000, gid: 70_000 }),
        }
    }

    #[test]
    fn a_specification_survives_its_journey() {
        let bytes = spec().encode().unwrap();
        let image = Image::decode(&bytes).unwrap();
        assert_eq!(image.argv, [c"sh".into(), c"-c".into(), CString::from(c"echo hello")]);
        assert_eq!(image.env, [c"PATH=/a::/b".into(), CString::from(c"PASSWORD=hunter2")]);
        assert_eq!(image.dir, Path::new("/tmp"));
        assert_eq!(image.user, Some(User { uid: 1000, gid: 70_000 }));
        let own = CommandSpec { user: None, ..spec() }.encode().unwrap();
        assert_eq!(Image::decode(&own).unwrap().user, None);
        for end in 0..bytes.len() {
            assert!(Image::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn a_relative_directory_is_the_callers() {
        let bytes = CommandSpec { dir: "x".into(), ..spec() }.encode().unwrap();
        assert_eq!(Image::decode(&bytes).unwrap().dir, std::env::current_dir().unwrap().join("x"));
    }

    #[test]
    fn what_no_command_line_can_hold_is_refused_by_name_and_without_the_value() {
        let refusal = |spec: CommandSpec| spec.encode().unwrap_err().to_string();
        assert!(refusal(CommandSpec { argv: vec![], ..spec() }).contains("without a program"));
        assert!(refusal(CommandSpec { argv: vec!["".into()], ..spec() }).contains("without a program"));
        assert!(refusal(CommandSpec { argv: vec!["a\0b".into()], ..spec() }).contains("NUL"));
        for name in ["", "A=B", "A\0"] {
            assert!(refusal(CommandSpec { env: vec![(name.into(), "".into())], ..spec() }).contains("no environment"));
        }
        let secret = refusal(CommandSpec { env: vec![("TOKEN".into(), "s3cret\0".into())], ..spec() });
        assert!(secret.contains("TOKEN") && !secret.contains("s3cret"), "{secret}");
    }

    #[test]
    fn values_never_show_in_debug() {
        let shown = format!("{:?}", spec());
        assert!(shown.contains("PASSWORD") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn places_of_path() {
        let env = [CString::from(c"PATH=/a::/b")];
        assert_eq!(candidates(c"x", &env), [c"/a/x".into(), c"./x".into(), CString::from(c"/b/x")]);
        assert_eq!(candidates(c"x", &[])[0].as_c_str(), c"/usr/local/bin/x");
    }
}
