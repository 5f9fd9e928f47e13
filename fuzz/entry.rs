//! What is promised of any text: no panic, every span inside the text and on its characters, no secret shown. Called by
//! the fuzz targets, and by the ordinary tests of `tambat-manifest` with every seed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tambat_manifest::{Diagnostic, Files, RouteFile, ServeFile, TARGETS_MAX, Text};
use tambat_model::{
    DependencyFile, ForeignService, HostPattern, HostTable, Ledger, Plan, PortKey, Protocol, Recognised, ResourceUrl,
    Site, UrlTemplate, Wiring, World, foreign_route, redact, route_table,
};

/// A Procfile.
pub(crate) fn procfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let files = Files { manifest: None, procfile: Some(Text::new("Procfile", text)) };
    plan(&files);
}

/// A manifest, and a Procfile behind a line of `---`.
pub(crate) fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (manifest, procfile) = match text.split_once("\n---\n") {
        Some((manifest, procfile)) => (manifest, Some(Text::new("Procfile", procfile))),
        None => (&*text, None),
    };
    let files = Files { manifest: Some(Text::new("tambat.toml", manifest)), procfile };
    plan(&files);
}

/// A `.env` file; the shell has one variable.
pub(crate) fn dotenv(data: &[u8]) {
    let text = Text::new(".env", String::from_utf8_lossy(data));
    let shell = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    let found = match tambat_manifest::dotenv::parse(&text, &shell) {
        Ok(file) => {
            for layer in &file.layers {
                assert!(!layer.name.is_empty() && !layer.name.contains(['=', '\0']));
                assert!(!layer.value.contains('\0'));
            }
            file.warnings
        }
        Err(found) => {
            assert!(!found.is_empty());
            found
        }
    };
    check(&found);
}

/// The URL of a backing service: what is printed of it never has its password.
pub(crate) fn resource_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = text.parse::<UrlTemplate>();
    let _ = redact(&text);
    let Ok(url) = text.parse::<ResourceUrl>() else {
        return;
    };
    let shown = url.to_string();
    assert!(shown.contains("***@") || shown == url.reveal(), "{shown}");
    assert_eq!(url.reveal().parse().as_ref(), Ok(&url));
    assert!(!url.host().is_empty());
    let _ = (url.port(), url.scheme());
}

/// The file of a router: each of its names and paths leads to the route that claims it.
pub(crate) fn route_file(data: &[u8]) {
    let file = match RouteFile::new(&Text::new("routes.toml", String::from_utf8_lossy(data))) {
        Ok(file) => file,
        Err(found) => {
            assert!(!found.is_empty());
            return check(&found);
        }
    };
    assert!(
        (!file.listen().is_empty() || !file.listen_tls().is_empty())
            && !file.routes().is_empty()
            && file.differs_in_routes_alone(&file)
    );
    let mut table = HostTable::default();
    for route in file.routes() {
        let targets: BTreeSet<_> = route.targets.iter().collect();
        assert!((1..=TARGETS_MAX).contains(&targets.len()) && targets.len() == route.targets.len());
        let to = Arc::new(foreign_route(&route.name, Protocol::Http, ForeignService::NotRunning, route.wait));
        assert!(!route.hosts.is_empty());
        for host in &route.hosts {
            let site = Site { path: route.path.clone(), strip: route.strip, route: Arc::clone(&to) };
            assert!(table.insert(host.clone(), site).is_ok(), "{host}{} is claimed twice", route.path);
        }
    }
    for route in file.routes() {
        for host in &route.hosts {
            if let HostPattern::Exact(name) = host {
                let found = table.find(name, route.path.as_str()).map(|site| &*site.route.name);
                assert_eq!(found, Some(&*route.name), "{host}{}", route.path);
            }
        }
    }
}

/// The file of a server.
pub(crate) fn serve_file(data: &[u8]) {
    if let Err(found) = ServeFile::new(&Text::new("serve.toml", String::from_utf8_lossy(data))) {
        assert!(!found.is_empty());
        check(&found);
    }
}

/// A dependency file, by each of the names that it may have, and as a command beside it.
pub(crate) fn dependency_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in DependencyFile::names() {
        let file = DependencyFile::read(name, &text);
        assert!(file.as_ref().is_some_and(|file| file.name() == name));
        let recognised = Recognised::of(&text, file.as_slice());
        assert!(recognised.bind_port(Some(&text)).contains("PORT"));
        assert!(!recognised.bind_all(None).is_empty());
    }
}

fn plan(files: &Files) {
    match files.plan(Path::new("/srv/shop")) {
        Ok(loaded) => {
            assert!(!loaded.plan.processes().is_empty());
            let _ = loaded.plan.cycles();
            every_name_is_somebodys(&loaded.plan);
            check(&loaded.warnings);
        }
        Err(found) => {
            assert!(!found.is_empty());
            check(&found);
        }
    }
}

/// Each name and path that a port has leads to it: in a plan nobody claims what somebody else has.
fn every_name_is_somebodys(plan: &Plan) {
    let mut wiring = Wiring::default();
    let ports = plan.processes().iter().flat_map(|process| process.ports.iter().map(move |port| (process, port)));
    for ((process, port), number) in ports.clone().zip((1_u16..).filter_map(|number| number.try_into().ok())) {
        wiring.service_ports.insert(PortKey { process: process.name.clone(), port: port.name.clone() }, number);
    }
    let table = route_table(plan, &wiring, &World::default(), &Ledger::default());
    let sites = ports.flat_map(|(_, port)| &port.site).map(|site| site.patterns().count()).sum::<usize>();
    assert_eq!(table.hosts().sites().len(), sites);
}

fn check(found: &[Diagnostic]) {
    for diagnostic in found {
        for spot in &diagnostic.spots {
            let shown = spot.source.shown();
            if let Some(span) = &spot.span {
                assert!(shown.get(span.clone()).is_some(), "{span:?} of {} bytes", shown.len());
            }
            assert!(spot.line() >= 1);
        }
        assert!(!diagnostic.render(false).is_empty());
        assert!(!diagnostic.render(true).is_empty());
    }
}
