//! An update of the DaemonSet while pods talk.

use crate::installation::Installation;
use crate::pod::Pod;
use crate::scale::scaled;
use crate::stream::Stream;

/// Updates it, and waits until each node has its new daemon, while these pods talk.
pub(super) fn loses_nothing(installation: &Installation, pairs: &[(&Pod, &Pod)], update: impl FnOnce()) {
    let streams: Vec<Stream> = pairs.iter().map(|(from, to)| Stream::start(from, to)).collect();
    update();
    installation.until_rolled_out();
    for seen in streams.into_iter().map(|stream| stream.end(scaled(3000))) {
        let gap = seen.gap.as_millis();
        println!(
            "    DaemonSet restarted, {}: {} of {} pings lost, longest gap of the stream {gap} ms",
            seen.way, seen.lost, seen.sent
        );
        // Containers start beside the stream's own threads: its gaps say more of the machine than of the network.
        assert!(seen.missing.is_empty(), "{seen:?}");
    }
}
