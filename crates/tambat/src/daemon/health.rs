//! Instances that are asked how they are (`health` in the manifest): what they are asked, and what the world looks like
//! with their answers in it. Pure; the router's checker does the asking.

use std::sync::Arc;

use tambat_model::{HealthRules, InstanceView, Phase, Plan, ProcessPlan, World};
use tambat_router::{Check, HealthView};

/// Whom to ask: each instance that is ready, at its first port.
pub(crate) fn checks(plan: &Plan, world: &World) -> Vec<Check> {
    let asked = plan.processes().iter().filter_map(|process| Some((process, process.health.as_ref()?)));
    let checks = asked.flat_map(|(process, rules)| {
        let view = world.processes.get(&process.name);
        let instances = view.into_iter().flat_map(|view| &view.instances);
        instances.filter_map(move |instance| check(process, rules, instance))
    });
    checks.collect()
}

/// The world with what the answers say against instances.
pub(crate) fn examined(plan: &Plan, world: Arc<World>, known: &HealthView) -> Arc<World> {
    if known.is_empty() {
        return world;
    }
    let mut examined = World::clone(&world);
    for process in plan.processes() {
        let Some(rules) = &process.health else { continue };
        let Some(view) = examined.processes.get_mut(&process.name) else { continue };
        for instance in &mut view.instances {
            let health = check(process, rules, instance).and_then(|check| known.get(&check));
            instance.ill = health.and_then(|health| health.cause().cloned());
        }
    }
    Arc::new(examined)
}

/// What is to be said of instances that fell ill or got well since.
pub(crate) fn news(before: &World, now: &World) -> Vec<String> {
    let of = |world: &World, instance: &InstanceView| {
        let view = world.processes.get(&instance.name.process)?;
        let known = view.instances.iter().find(|i| i.generation == instance.generation && i.name == instance.name)?;
        known.ill.clone()
    };
    let instances = now.processes.values().flat_map(|view| &view.instances);
    let ready = instances.filter(|instance| matches!(instance.phase, Phase::Ready { .. }));
    let news = ready.filter_map(|instance| match (of(before, instance), &instance.ill) {
        (None, Some(ill)) => Some(format!("{} is not well: it {ill}; it gets no requests until it is", instance.name)),
        (Some(_), None) => Some(format!("{} is well again", instance.name)),
        _ => None,
    });
    news.collect()
}

fn check(process: &ProcessPlan, rules: &HealthRules, instance: &InstanceView) -> Option<Check> {
    let Phase::Ready { endpoints, .. } = &instance.phase else { return None };
    let first = process.ports.first()?;
    let proxy_protocol = first.proxy_protocol;
    let addr = endpoints.iter().find(|endpoint| endpoint.port == first.name)?.addr;
    // It is asked as the supervisor has asked for its `ready.path`.
    let host = format!("localhost:{}", addr.port());
    Some(Check::new(addr, instance.generation, rules.clone(), first.protocol, &host, proxy_protocol))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tambat_manifest::{Files, Text};
    use tambat_model::{Endpoint, InstanceName, ProcessName, ProcessView, Protocol};
    use tambat_router::Checker;

    use super::*;

    fn plan() -> Plan {
        let text = "[processes.web]\ncommand = \"x\"\nhealth = { path = \"/healthz\" }\n\
                    [processes.cache]\ncommand = \"y\"\nprotocol = \"redis\"\nhealth = {}\n\
                    [processes.api]\ncommand = \"z\"\nprotocol = \"http\"\n";
        let files = Files { manifest: Some(Text::new("tambat.toml", text)), procfile: None };
        files.plan(Path::new("/srv/shop")).unwrap().plan
    }

    fn view(process: &ProcessName, phase: Phase) -> ProcessView {
        let name = InstanceName { process: process.clone(), number: std::num::NonZeroU16::MIN };
        let instance = InstanceView { name, generation: 7, restarts: 0, phase, ill: None };
        ProcessView { instances: vec![instance], ..ProcessView::default() }
    }

    fn world(plan: &Plan) -> World {
        let mut world = World::default();
        for (process, port) in plan.processes().iter().zip(20_000_u16..) {
            let endpoint = Endpoint { port: None, addr: ([127, 0, 0, 1], port).into(), exposed: None };
            let phase =
                Phase::Ready { pid: 1, endpoints: [endpoint].into(), load: Arc::default(), after: Duration::ZERO };
            world.processes.insert(process.name.clone(), view(&process.name, phase));
        }
        world
    }

    #[test]
    fn who_is_ready_and_to_be_asked_is_asked_at_its_first_port() {
        let plan = plan();
        let mut world = world(&plan);
        let of = |port: u16, path: Option<&str>| {
            let rules = HealthRules { path: path.map(str::to_owned), ..HealthRules::default() };
            Check::new(([127, 0, 0, 1], port).into(), 7, rules, Protocol::Http, &format!("localhost:{port}"), None)
        };
        assert_eq!(checks(&plan, &world), [of(20_000, Some("/healthz")), of(20_001, None)]);
        let web = ProcessName::web();
        world.processes.insert(web.clone(), view(&web, Phase::Draining { pid: 1 }));
        assert_eq!(checks(&plan, &world).len(), 1);
    }

    #[tokio::test]
    async fn what_the_answers_say_stands_in_the_world() {
        let plan = plan();
        let world = Arc::new(world(&plan));
        let mut checker = Checker::new();
        assert!(Arc::ptr_eq(&examined(&plan, Arc::clone(&world), &checker.view()), &world), "nobody is asked");
        checker.watch(checks(&plan, &world));
        let ill = |checker: &Checker| {
            let examined = examined(&plan, Arc::clone(&world), &checker.view());
            let views = examined.processes.values().flat_map(|view| &view.instances);
            views.filter_map(|view| Some(format!("{} {}", view.name, view.ill.as_ref()?))).collect::<Vec<_>>()
        };
        assert_eq!(ill(&checker), Vec::<String>::new());
        checker.unreachable(([127, 0, 0, 1], 20_001).into(), 7, &"refuses connections".into());
        assert_eq!(ill(&checker), ["cache.1 refuses connections"]);
    }

    #[tokio::test]
    async fn who_falls_ill_or_gets_well_is_said_once() {
        let plan = plan();
        let world = Arc::new(world(&plan));
        let mut checker = Checker::new();
        checker.watch(checks(&plan, &world));
        checker.unreachable(([127, 0, 0, 1], 20_000).into(), 7, &"answers 503 Busy".into());
        let ill = examined(&plan, Arc::clone(&world), &checker.view());
        let said = "web.1 is not well: it answers 503 Busy; it gets no requests until it is";
        assert_eq!(news(&world, &ill), [said]);
        assert_eq!(news(&ill, &ill), Vec::<String>::new());
        assert_eq!(news(&ill, &world), ["web.1 is well again"]);
    }
}
