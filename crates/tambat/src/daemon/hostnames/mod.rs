//! The names of this user's apps, at one port that all their tambats share.

/// Where names are served unless `--http-port` says otherwise.
pub(crate) const HTTP_PORT_DEFAULT: u16 = 7080;
