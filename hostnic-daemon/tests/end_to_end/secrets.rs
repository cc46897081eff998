//! The daemon's program tells no secret: neither in its logs at their lowest level, nor in what it prints, stores or
//! answers, nor in what the kernel shows of its process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostnic_netlink::Netns;
use hostnic_qingcloud::simulator::{RoleCredentials, Simulator, SimulatorConfig};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::api::{ACCESS_KEY, Api, INSTANCE, SECRET, flags};
use crate::machine::{Machine, Running};
use crate::needles::Needles;
use crate::trial;
use crate::witness;

const WRONG: &str = "n0t/the+S3cret";
const ROLE_SECRET: &str = "r0le/S3cret+of=the'machine";
const ROLE_TOKEN: &str = "eyJh.r0le/t0ken+of=the'machine";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_daemon_tells_no_secret_in_logs_as_text", || tells_nothing("text")),
        trial("a_daemon_tells_no_secret_in_logs_as_json", || tells_nothing("json")),
        trial("a_daemon_with_a_role_tells_neither_its_secret_nor_its_token", role),
    ]
}

/// All that was said, and by what.
#[derive(Debug, Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn take_down(&mut self, what: &str, text: String) {
        self.0.push((what.to_owned(), text));
    }

    /// What the kernel shows of a process to whoever may look.
    fn process(&mut self, daemon: &Running) {
        for file in ["cmdline", "environ"] {
            let shown = std::fs::read(format!("/proc/{}/{file}", daemon.pid())).unwrap();
            self.take_down(&format!("/proc/PID/{file}"), String::from_utf8_lossy(&shown).into_owned());
        }
    }

    /// What the daemon prints about itself when asked.
    async fn answers(&mut self, machine: &Machine) {
        for command in ["nics", "pods", "version"] {
            for format in ["table", "json"] {
                let asked = machine.asked(&[command, "-o", format]).await.unwrap();
                self.take_down(&format!("`{command} -o {format}`"), asked);
            }
        }
    }

    /// The file of its records.
    fn store(&mut self, machine: &Machine) {
        let store = std::fs::read(machine.folder().join("state.redb")).unwrap();
        self.take_down("the store", String::from_utf8_lossy(&store).into_owned());
    }

    fn tell_none_of(&self, secrets: &[Needles]) {
        for (what, text) in &self.0 {
            assert!(!text.is_empty(), "{what} is empty");
            let told = secrets.iter().find_map(|secret| secret.told_by(text));
            assert!(told.is_none(), "{what} tells {}", told.unwrap_or_default());
        }
    }
}

/// A daemon that has everybody log everything.
fn spawn(machine: &Machine, flags: &[&str], format: &str, name: &str) -> Running {
    let mut command = machine.start(flags);
    command.args(["--log-level", "trace,hostnic_core=trace", "--log-format", format]);
    machine.spawn(command, name)
}

async fn says(machine: &Machine, daemon: &Running, what: &str) {
    machine.until(daemon, what, async || daemon.said().contains(what)).await;
}

async fn tells_nothing(format: &str) {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let mut said = Said::default();
    let right = api.access_file();
    let daemon = spawn(&machine, &flags(&right), format, "log-right");
    machine.until_filled(&daemon).await;
    said.process(&daemon);
    for (nth, fault) in
        [json!({"http": 502}), json!("reset-before"), json!("cut-body"), json!({"ret-code": 5000})]
            .iter()
            .enumerate()
    {
        let rule = json!({"action": "CreateNics", "when": {"nth": nth + 1}, "fault": fault});
        api.admin("POST", "/faults", rule).await;
    }
    // The first takes what is there, and the others need what all those faults are in the way of.
    let pods = [machine.pod("a").await, machine.pod("b").await, machine.pod("c").await];
    for pod in &pods {
        said.take_down("an ADD", machine.call("ADD", pod).succeeds().await.to_string());
    }
    said.answers(&machine).await;
    for pod in &pods {
        machine.call("DEL", pod).succeeds().await;
    }
    said.store(&machine);
    let (success, log) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success && log.contains("hyper") && log.contains("502"), "{log}");
    said.take_down("the log", log);

    api.admin("POST", "/access-keys", json!({"access_key_id": ACCESS_KEY, "status": "inactive"})).await;
    let wrong = api.write_access_file("wrong.yaml", WRONG);
    for (file, name) in [(&right, "the log with a revoked key"), (&wrong, "the log with a wrong secret")] {
        refused(&machine, &flags(file), format, name, &mut said).await;
        api.admin("POST", "/access-keys", json!({"access_key_id": ACCESS_KEY, "status": "active"})).await;
    }
    for path in ["/history", "/counts", "/faults", "/state"] {
        said.take_down(path, api.admin("GET", path, Value::Null).await.to_string());
    }
    said.take_down("the simulator's log", api.said());
    said.tell_none_of(&[
        Needles::new("the secret", SECRET),
        Needles::new("the wrong secret", WRONG),
        Needles::new("a signature", "signature="),
    ]);
    api.end().await;
}

/// A daemon that is not let in.
async fn refused(machine: &Machine, flags: &[&str], format: &str, name: &str, said: &mut Said) {
    let daemon = spawn(machine, flags, format, "log-refused");
    says(machine, &daemon, "refuses the access key").await;
    said.process(&daemon);
    let pod = machine.pod("refused").await;
    said.take_down("STATUS", machine.call("STATUS", &pod).run().await.stdout + " ");
    let (success, log) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success, "{log}");
    said.take_down(name, log);
}

/// Serves the API and the instance's metadata in the machine's own network, until the second is told.
async fn serve_role(netns: &Path) -> (Arc<Simulator>, oneshot::Sender<()>) {
    let mut config = SimulatorConfig::new("sim1", ACCESS_KEY, SECRET.into());
    config.listen = "127.0.0.1:7777".parse().unwrap();
    config.admin = "127.0.0.1:7778".parse().unwrap();
    config.vxnets.push("vxnet-a=192.168.50.0/24".parse().unwrap());
    config.instances.push(INSTANCE.parse().unwrap());
    config.role = Some(RoleCredentials {
        access_key: "ROLE".into(),
        secret_key: ROLE_SECRET.into(),
        token: ROLE_TOKEN.into(),
        expires: SystemTime::now() + Duration::from_secs(3600),
    });
    let (started, start) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let netns = Netns::open(netns).unwrap();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let simulator = Arc::new(Simulator::start(config).await.unwrap());
            drop(started.send(Arc::clone(&simulator)));
            // A sender that was dropped means the same.
            drop(stopped.await);
        });
    };
    tokio::spawn(async move { netns.run(serve).await });
    (start.await.unwrap(), stop)
}

async fn role() {
    let machine = Machine::new().await;
    witness::run(machine.netns(), &["ip", "link", "set", "lo", "up"]);
    let (simulator, _stop) = serve_role(machine.netns()).await;
    let file = machine.folder().join("role.yaml");
    let text = "zone: sim1\nhost: 127.0.0.1\nport: 7777\nprotocol: http\nuri: /iaas\n\
         credential_proxy_protocol: http\ncredential_proxy_host: 127.0.0.1\ncredential_proxy_port: 7778\n\
         credential_proxy_uri: /latest/meta-data/security-credentials\n";
    std::fs::write(&file, text).unwrap();
    let flags = ["--access-file", file.to_str().unwrap(), "--vxnet", "vxnet-a", "--instance", INSTANCE];
    let mut said = Said::default();
    for format in ["text", "json"] {
        simulator.clear_history();
        let daemon = spawn(&machine, &flags, format, format);
        let described = async || {
            let carried_out = simulator.history().iter().any(|call| call.carried_out);
            carried_out && machine.asked(&["nics"]).await.is_ok()
        };
        machine.until(&daemon, "it serves and is let in", described).await;
        said.process(&daemon);
        said.answers(&machine).await;
        assert!(simulator.revoke("ROLE"));
        // Without links there is no NIC for it, but a reason to make one more: in a while, as others are on their way.
        let pod = machine.pod(format).await;
        said.take_down("an ADD", machine.call("ADD", &pod).with("timeout", json!(20)).run().await.stdout);
        says(&machine, &daemon, "the key of the instance's role is refused").await;
        assert!(simulator.restore("ROLE"));
        let (success, log) = daemon.ends_by(Signal::SIGTERM).await;
        assert!(success, "{log}");
        said.take_down(&format!("the log as {format}"), log);
        said.store(&machine);
        said.take_down("the simulator's history", format!("{:?}", simulator.history()));
    }
    said.tell_none_of(&[
        Needles::new("the role's secret", ROLE_SECRET),
        Needles::new("the role's token", ROLE_TOKEN),
        Needles::new("a signature", "signature="),
    ]);
}
