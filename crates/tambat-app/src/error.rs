use std::{fmt, io, net::SocketAddr};

/// Why an app could not moor: what is wrong, with which variable or address, and what to do about it.
///
/// `Debug` reads like `Display`, because that is what Rust prints when `main` returns an error.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `PORT` is not in the environment.
    #[error(
        "cannot find the port to bind: PORT is not in the environment\n\
         set it (PORT=5000), or start the app with `tambat start`, which gives each process its own"
    )]
    PortMissing,
    /// `PORT` is not a decimal number.
    #[error("cannot use PORT={value:?}: it is not a number\nset it to a port from 1 to 65535, such as PORT=5000")]
    PortNotANumber {
        /// What `PORT` says.
        value: String,
    },
    /// `PORT` is 0, which would let the kernel choose a port that nobody knows.
    #[error(
        "cannot use PORT=0: the kernel would choose a port that nobody knows\n\
         set it to a port from 1 to 65535, such as PORT=5000"
    )]
    PortZero,
    /// `PORT` is above 65535.
    #[error("cannot use PORT={value}: ports end at 65535\nset it to a port from 1 to 65535, such as PORT=5000")]
    PortTooLarge {
        /// What `PORT` says.
        value: String,
    },
    /// `HOST` is not an IP address.
    #[error(
        "cannot use HOST={value:?}: it is not an IP address\n\
         set it to 127.0.0.1 or ::1 (this machine only), or to 0.0.0.0 or :: (every network it is on)"
    )]
    HostNotAnAddress {
        /// What `HOST` says.
        value: String,
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
    /// `TERM` and `INT` cannot be watched, so the app could not drain.
    #[error("cannot watch for the signals TERM and INT: {0}\nraise the limit on open files, if that is the cause")]
    Signals(#[source] io::Error),
    /// A resource handle is not in the environment.
    #[error(
        "cannot find the resource handle {variable}: it is not in the environment\n\
         set it to the URL of the backing service (scheme://host:port, such as http://127.0.0.1:5100), \
         or name the service in `uses` of this process in tambat.toml"
    )]
    ResourceMissing {
        /// The name of the variable.
        variable: String,
    },
    /// A resource handle is not a URL. What it says is not repeated: it may hold a password.
    #[error(
        "cannot use the resource handle {variable}: {cause}\n\
         set it to the URL of the backing service: scheme://host:port, such as http://127.0.0.1:5100"
    )]
    ResourceNotAUrl {
        /// The name of the variable.
        variable: String,
        /// Which part is wrong.
        cause: &'static str,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn bind_advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root: set PORT to 1024 or more",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: set HOST to 127.0.0.1 or 0.0.0.0",
        _ => "set PORT and HOST to an address that this machine has",
    }
}
