//! The image of the node daemon, made by its own script, and on the nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::succeeds;
use crate::world::World;
use crate::{archive, build};

/// Where the image is that was built for the tests.
const ARCHIVE: &str = "HOSTNIC_IMAGE";

/// Builds it in a folder, under the name that the manifests have.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("no folder for the image: {error}"))?;
    let image = folder.join("image.tar");
    archive::build(build::DAEMON, &image)?;
    Ok(image)
}

/// Tells the tests inside the enclosure where it is.
pub(crate) fn tell(command: &mut Command, archive: &Path) {
    command.env(ARCHIVE, archive);
}

/// Loads it on each node, as docs/kubernetes.md says.
pub(crate) fn load(world: &World) {
    for node in &world.nodes {
        let mut command = node.command("ctr");
        command.arg("--address").arg(world.cluster.containerd(node));
        command.args(["--namespace", "k8s.io", "images", "import"]).arg(std::env::var_os(ARCHIVE).unwrap());
        succeeds(&mut command);
    }
}
