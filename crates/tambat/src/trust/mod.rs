//! Having the programs of this machine believe the local CA: what is found, what is to be done, and doing it.
//!
//! ```text
//! store   the places where roots are kept      plan   from what was found to commands; pure
//! drive   looking into stores, and running the commands
//! ```

mod drive;
mod plan;
mod store;

pub(crate) use drive::{holds, look, run};
pub(crate) use plan::{Named, Task, Todo, Wish, shell_command, shell_line, task};
pub(crate) use store::{Machine, RootName, Store};
