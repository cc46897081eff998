//! What surrounds pods is killed and started again, and their traffic goes on.

use libtest_mimic::Trial;

use crate::cluster::NODE_PROGRAMS;
use crate::daemon::{Settings, Way};
use crate::pod::{Pod, Wanted};
use crate::process::{output, until};
use crate::scale::scaled;
use crate::stage::Stage;
use crate::stream::{GAP, Stream};
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("traffic_of_pods_with_nics_of_their_own_outlives_what_is_restarted", |world| {
            of(world, Way::Passthrough)
        }),
        trial("traffic_of_pods_behind_veths_outlives_what_is_restarted", |world| {
            of(world, Way::Veth { hairpin: false })
        }),
    ]
}

/// How many pings there are at least in each direction while something restarts; whole, it is 3,000.
fn pings() -> u32 {
    scaled(3000)
}

fn of(world: &'static World, way: Way) {
    let stage = Stage::set(world, &Settings::both(way));
    restarts(stage);
}

fn restarts(mut stage: Stage) {
    let pods = stage.pods([
        Wanted::new("one").on("node1"),
        Wanted::new("near").on("node1"),
        Wanted::new("far").on("node2"),
    ]);
    let node = &stage.world.nodes[0];
    for program in NODE_PROGRAMS {
        during(&pods, program, || {
            stage.world.cluster.restart(node, program);
            stage.until_restarted(program);
        });
    }
    let cluster = &stage.world.cluster;
    during(&pods, "the API server", || {
        cluster.restart_own("apiserver");
        until("the API server is ready", || cluster.kubectl(&["get", "--raw", "/readyz"]).ok());
    });
    during(&pods, "hostnic-daemon", || {
        stage.daemons[0].restart();
        stage.daemons[0].until_ready();
    });
    for pod in &pods {
        let told = stage.world.cluster.get(&["pod", &pod.name]);
        assert_eq!(told["metadata"]["uid"], pod.uid.as_str(), "{} was made anew", pod.name);
        let restarts = &told["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(restarts, 0, "{}: {told:#}", pod.name);
    }
    stage.end();
}

/// Does something while pods of one node, and of two, talk.
fn during(pods: &[Pod; 3], what: &str, act: impl FnOnce()) {
    let [one, near, far] = pods;
    let streams = [Stream::start(one, near), Stream::start(one, far), Stream::start(far, near)];
    act();
    for seen in streams.map(|stream| stream.end(pings())) {
        let gap = seen.gap.as_millis();
        println!(
            "    {what} restarted, {}: {} of {} pings lost, longest gap of the stream {gap} ms",
            seen.way, seen.lost, seen.sent
        );
        assert!(seen.sent >= pings(), "{seen:?}");
        assert!(seen.lost == 0 && seen.gap <= GAP, "{seen:?}");
    }
}

impl Stage {
    /// Waits until a program of the first node does its work again.
    fn until_restarted(&self, program: &str) {
        let node = &self.world.nodes[0];
        match program {
            "containerd" => {
                let socket = self.world.cluster.containerd(node);
                let asked = || output(node.command("ctr").arg("--address").arg(&socket).arg("version"));
                until("containerd answers", || asked().ok());
            }
            "kubelet" => node.until_listening(10248),
            _ => node.until_listening(10256),
        }
    }
}
