use std::{fmt, io, net::SocketAddr};

/// Why an app could not moor: what is wrong, with which variable or address, and what to do about it.
///
/// `Debug` reads like `Display`, because that is what Rust prints when `main` returns an error.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `PORT` is not in the environment, or the variable of a named port is not.
    #[error("cannot find the port to bind: {variable} is not in the environment\n{}", missing_advice(.variable))]
    PortMissing {
        /// The name of the variable.
        variable: String,
    },
    /// It is not a decimal number.
    #[error(
        "cannot use {variable}={value:?}: it is not a number\n\
         set it to a port from 1 to 65535, such as {variable}=5000"
    )]
    PortNotANumber {
        /// The name of the variable.
        variable: String,
        /// What it says.
        value: String,
    },
    /// It is 0, which would let the kernel choose a port that nobody knows.
    #[error(
        "cannot use {variable}=0: the kernel would choose a port that nobody knows\n\
         set it to a port from 1 to 65535, such as {variable}=5000"
    )]
    PortZero {
        /// The name of the variable.
        variable: String,
    },
    /// It is above 65535.
    #[error(
        "cannot use {variable}={value}: ports end at 65535\nset it to a port from 1 to 65535, such as {variable}=5000"
    )]
    PortTooLarge {
        /// The name of the variable.
        variable: String,
        /// What it says.
        value: String,
    },
    /// `HOST` is not an IP address.
    #[error(
        "cannot use HOST={value:?}: it is not an IP address\n\
         set it to localhost (this machine only), or to 0.0.0.0 or :: (every network it is on)"
    )]
    HostNotAnAddress {
        /// What `HOST` says.
        value: String,
    },
    /// The sockets that a service manager handed in (`LISTEN_FDS`) cannot be served.
    #[error(
        "cannot use the sockets that were handed in: {cause}\n\
         hand in listening TCP sockets (ListenStream=5000 in the .socket unit), or unset LISTEN_FDS and set PORT"
    )]
    Handed {
        /// What is wrong, and with which of them.
        cause: String,
    },
    /// Somebody else listens on the address (EADDRINUSE).
    #[error(
        "cannot bind port {} on {}: another program listens there\n\
         stop it (`ss -ltnp 'sport = :{}'` names it), or set PORT to another port",
        .address.port(), .address.ip(), .address.port()
    )]
    PortTaken {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// This user may not bind the port (EACCES).
    #[error(
        "cannot bind port {} on {}: this user may not\n\
         ports below 1024 are for root: set PORT to 1024 or more",
        .address.port(), .address.ip()
    )]
    PortForbidden {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    #[error("cannot bind {address}: {source}\n{}", bind_advice(.source.kind()))]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A listener that was handed in does not know its address.
    #[error("cannot learn which address the listener is bound to: {0}\nhand in a TCP listener that is bound")]
    LocalAddress(#[source] io::Error),
    /// A listener cannot be watched by the runtime.
    #[error("cannot wait for connections: {0}\nraise the limit on open files, if that is the cause")]
    Listen(#[source] io::Error),
    /// `TERM` and `INT` cannot be watched, so the app could not drain.
    #[error("cannot watch for the signals TERM and INT: {0}\nraise the limit on open files, if that is the cause")]
    Signals(#[source] io::Error),
    /// The service manager waits to be told that the app is ready, and cannot be reached.
    #[error(
        "cannot tell the service manager at NOTIFY_SOCKET={socket:?}: {cause}\n\
         set Type=notify in the unit of this very process, or unset NOTIFY_SOCKET"
    )]
    Notify {
        /// What `NOTIFY_SOCKET` says.
        socket: String,
        /// What is wrong.
        cause: String,
    },
    /// A resource handle is not in the environment.
    #[error(
        "cannot find the resource handle {variable}: it is not in the environment\n\
         set it to the URL of the backing service, such as {variable}={example},\n\
         or name the service in `uses` of this process in tambat.toml"
    )]
    ResourceMissing {
        /// The name of the variable.
        variable: String,
        /// A URL as it may stand there.
        example: &'static str,
    },
    /// A resource handle is not a URL. What it says is not repeated: it may hold a password.
    #[error(
        "cannot use the resource handle {variable}: {cause}\n\
         set it to the URL of the backing service, such as {variable}={example}"
    )]
    ResourceNotAUrl {
        /// The name of the variable.
        variable: String,
        /// Which part is wrong.
        cause: &'static str,
        /// A URL as it may stand there.
        example: &'static str,
    },
    /// A resource handle is a URL of something else.
    #[error(
        "cannot use the resource handle {variable}: its scheme is {scheme}, and this app speaks {wanted}\n\
         set it to the URL of such a service, such as {variable}={example}"
    )]
    ResourceScheme {
        /// The name of the variable.
        variable: String,
        /// What its URL begins with.
        scheme: String,
        /// What it may begin with.
        wanted: String,
        /// A URL as it may stand there.
        example: &'static str,
    },
    /// A resource handle does not say whom to dial.
    #[error(
        "cannot dial the resource handle {variable}: it names no {part}\n\
         set it to a URL with both, such as {variable}={example}"
    )]
    ResourceNotDialable {
        /// The name of the variable.
        variable: String,
        /// `host` or `port`.
        part: &'static str,
        /// A URL as it may stand there.
        example: &'static str,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn missing_advice(variable: &str) -> String {
    if variable == "PORT" {
        return "set it (PORT=5000), or start the app with `tambat start`, which gives each process its own".to_owned();
    }
    format!("set it ({variable}=5001), or name the port in `ports` of this process in tambat.toml")
}

fn bind_advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: set HOST to 127.0.0.1 or 0.0.0.0",
        _ => "set PORT and HOST to an address that this machine has",
    }
}
