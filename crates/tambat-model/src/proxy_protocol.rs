//! The PROXY protocol: who tells whom where a connection comes from.

/// The version of the PROXY protocol in which a server is told where each connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyProtocol {
    /// A line of text: the addresses and nothing else.
    V1,
    /// A binary header, with room for more.
    V2,
}

impl ProxyProtocol {
    /// As it is written: `v1`, `v2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
