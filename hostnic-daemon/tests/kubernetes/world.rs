//! What all trials share: the cloud, the machines and the cluster, made when the first trial begins.

use std::sync::OnceLock;

use tokio::time::Instant;

use crate::cloud::Cloud;
use crate::cluster::Cluster;
use crate::enclosure;
use crate::machine::Machine;

static WORLD: OnceLock<World> = OnceLock::new();

/// Everything that is set up once.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) cluster: Cluster,
    /// The second has processes and files of its own.
    pub(crate) nodes: [Machine; 2],
    /// A machine of the VPC that is no node.
    pub(crate) host: Machine,
}

/// The world, which ends with the enclosure that it is in.
pub(crate) fn get() -> &'static World {
    WORLD.get_or_init(World::start)
}

impl World {
    fn start() -> Self {
        let begun = Instant::now();
        let folder = enclosure::folder().unwrap();
        let first = Machine::new("node1", &folder);
        let second = Machine::enclosed("node2", &folder);
        let host = Machine::new("vpchost", &folder);
        let cloud = Cloud::start(&[&first, &second, &host], &folder);
        let cluster = Cluster::start(&first, &folder);
        cluster.join(&second);
        cluster.let_daemons_in();
        let nodes = [first, second];
        for node in &nodes {
            let folder = node.file("/opt/cni/bin");
            std::fs::create_dir_all(&folder).unwrap();
            // Containers' loopback is one of the reference plugins.
            let files = std::fs::read_dir("/usr/lib/cni").unwrap().map(|entry| entry.unwrap().path());
            for file in files.chain([enclosure::plugin()]) {
                std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
            }
        }
        println!("    the cluster of two nodes was there after {:.1} s", begun.elapsed().as_secs_f64());
        Self { cloud, cluster, nodes, host }
    }
}
