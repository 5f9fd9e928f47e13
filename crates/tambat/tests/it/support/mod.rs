//! The vocabulary of the tests.

mod app_dir;
mod fixture;
mod http;
mod marks;
mod ports;
mod running;
mod terminal;
mod wait;

pub(crate) use app_dir::{AppDir, Output};
pub(crate) use http::{Response, get, try_get};
pub(crate) use marks::marked;
pub(crate) use ports::{Base, is_free};
pub(crate) use running::Running;
pub(crate) use terminal::Terminal;
pub(crate) use wait::{LIMIT, until};
