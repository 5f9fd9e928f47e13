//! Port numbers, each with its point of view.

use std::fmt;
use std::num::NonZeroU16;

/// Instance ports come from here: outside the kernel's ephemeral range (32768–60999 on Linux), so that no outgoing
/// connection takes one.
pub const INSTANCE_PORT_FIRST: u16 = 20_000;

/// The last of them, inclusive.
pub const INSTANCE_PORT_LAST: u16 = 29_999;

/// Why a number is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port: ports are 1 to 65535")]
pub struct PortError(pub i64);

macro_rules! port_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU16);

        impl $name {
            /// The number, 1 to 65535.
            pub fn get(self) -> u16 {
                self.0.get()
            }
        }

        impl TryFrom<i64> for $name {
            type Error = PortError;

            fn try_from(number: i64) -> Result<Self, PortError> {
                u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self).ok_or(PortError(number))
            }
        }

        impl TryFrom<u16> for $name {
            type Error = PortError;

            fn try_from(number: u16) -> Result<Self, PortError> {
                Self::try_from(i64::from(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

port_number! {
    /// The stable number of a process's port, held by the router. People and resource handles point here.
    ServicePort
}

port_number! {
    /// The number one instance is told to bind, from the private range. Nobody but the router dials it.
    InstancePort
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_1_to_65535() {
        for bad in [0, -1, 65_536, 70_000] {
            assert_eq!(ServicePort::try_from(bad), Err(PortError(bad)));
        }
        assert_eq!(ServicePort::try_from(65_535_i64).unwrap().get(), 65_535);
    }
}
