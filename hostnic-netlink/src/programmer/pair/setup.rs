//! Sets up a whole veth, of which nothing, a part or all may be there.

use hostnic_core::{Error, ErrorKind, Result};

use super::super::pod::loopback_up;
use super::super::{told, veth};
use super::{Beginning, Programming, State, beginning, differences, put_aside};

/// How often what is there is compared with the plan: putting one thing right can undo another.
const ROUNDS: usize = 3;

impl Programming<'_> {
    /// Makes the veth as planned; whether nothing of it was there. What was there before stays, even when this fails, and
    /// else nothing of `target`. `subject` is what is set up, for people.
    pub(in crate::programmer) async fn set_up(self, subject: &str, target: &veth::Target) -> Result<bool> {
        let Self { node, pair, pod, .. } = self;
        let (named, in_pod) = futures::try_join!(node.link_named(pair.host.name), pod.links())?;
        match beginning(pair, subject, named, &in_pod)? {
            Beginning::Fresh => {
                return match self.make_whole(loopback_up(&in_pod)).await {
                    Err(error) => Err(told(error, veth::tear_down(node, target).await.map(drop))),
                    Ok(()) => Ok(true),
                };
            }
            Beginning::Present => {}
            Beginning::Supersede(older) => put_aside(node, older).await?,
        }
        self.repair(subject).await.map(|()| false)
    }

    async fn make_whole(self, loopback_up: bool) -> Result<()> {
        let connection = self.node.connection().await?;
        self.make(&connection, None).await?;
        self.finish(loopback_up).await
    }

    async fn repair(self, subject: &str) -> Result<()> {
        for _ in 0..ROUNDS {
            let state = State::read(self.node, self.pair, Some(self.pod)).await?;
            let missing = differences(self.pair, self.mtu, &state);
            if missing.is_empty() {
                return Ok(());
            }
            self.put_right(&state, &missing).await?;
        }
        let state = State::read(self.node, self.pair, Some(self.pod)).await?;
        match differences(self.pair, self.mtu, &state).first() {
            None => Ok(()),
            Some(left) => Err(Error::new(ErrorKind::Transient, "set up", subject.to_owned())
                .detail(format!("{}; somebody else changes it, too", left.drift(self.pair)))),
        }
    }
}
