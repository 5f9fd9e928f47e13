//! `tambat start`: from the first line to the last.

use crate::support::{AppDir, get};

#[test]
fn a_procfile_is_enough() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    assert_eq!(get(app.port("web"), "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}
