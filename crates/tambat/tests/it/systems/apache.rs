//! Apache httpd with PHP, as the app's own foreground process.

use nix::unistd::geteuid;

use super::{example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

fn wall() -> AppDir {
    programs::apache_php();
    example("apache-php")
}

#[test]
fn httpd_is_nobody_special_and_finishes_on_term() {
    let app = wall();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let page = get(port, "/");
    assert!(page.status == 200 && page.body.contains("<h1>The wall</h1>"), "{page:?}");
    let left = app.curl(&["-L", "--data-urlencode", "line=Ahoj, <b>ships</b>", &format!("http://localhost:{port}/")]);
    assert!(left.must_be(0).stdout.contains("<li>Ahoj, &lt;b&gt;ships&lt;/b&gt; "));
    let empty = app.curl(&["-w", "%{http_code}", "-d", "line=%20", &format!("http://localhost:{port}/")]).must_be(0);
    assert!(empty.stdout.ends_with("422"), "{empty:?}");
    assert_eq!(get(port, "/../data/lines").status, 404);
    // Also where the tests are root's.
    let httpds: Vec<i32> = running.processes().iter().filter(|p| p.name == "apache2").map(|p| p.pid).collect();
    assert!(httpds.len() >= 2, "{:#?}", running.processes());
    for pid in httpds {
        let user = app.program("ps", &["-o", "user=", "-p", &pid.to_string()]).must_be(0).stdout;
        assert_eq!(user.trim() == "www-data", geteuid().is_root(), "{user}");
        assert_ne!(user.trim(), "root");
    }
    let answer = stop_in_the_middle_of(&form("/", "line=the+last+one"), &app, "web", &mut running);
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(std::fs::read_to_string(app.path().join("data/lines")).unwrap().contains("the last one"));
    assert_eq!(std::fs::read_dir(app.path().join("run")).unwrap().count(), 0, "pid files and locks");
    running.line("exited with code 0");
}

#[test]
fn httpd_takes_no_terminals_size_for_a_wish_and_ends_with_ctrl_c() {
    run_by_nobody(wall(), |app, running, terminal| {
        let master = running.processes().into_iter().find(|p| p.name == "apache2").unwrap();
        terminal.resize(30, 100);
        // WINCH, which httpd takes for a wish to end, goes to who has the terminal.
        let has = app.program("ps", &["-o", "tty=", "-p", &master.pid.to_string()]).must_be(0).stdout;
        assert_eq!(has.trim(), "?", "httpd has a terminal");
        let left = app.curl(&["-L", "-d", "line=still+here", &format!("http://localhost:{}/", app.port("web"))]);
        assert!(left.must_be(0).stdout.contains("<li>still here "));
    });
}
