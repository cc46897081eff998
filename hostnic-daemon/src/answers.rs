//! The answers of a node: all of them leave it here.

use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Check, Cleaned, ControlService, Del, Freed, Gc, Interface, NodeService, NodeStatus, v1,
};
use hostnic_cni::error::CniError;
use hostnic_core::point::{Point, Points, Side};

/// A service whose answers are points of the node's.
#[derive(Debug)]
pub(crate) struct Answers<S> {
    inner: S,
    points: Points,
}

impl<S> Answers<S> {
    pub(crate) fn new(inner: S, points: Points) -> Self {
        Self { inner, points }
    }

    /// From here on the answer is the connection's.
    async fn answer<T>(&self, point: Point, work: impl Future<Output = T>) -> T {
        let answer = work.await;
        self.points.reached(point, Side::Before);
        answer
    }
}

#[async_trait]
impl<S: NodeService> NodeService for Answers<S> {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        self.answer(Point::AnswerAdd, self.inner.add(request)).await
    }

    async fn del(&self, request: Del) -> Result<(), CniError> {
        self.answer(Point::AnswerDel, self.inner.del(request)).await
    }

    async fn check(&self, request: Check) -> Result<Interface, CniError> {
        self.answer(Point::AnswerCheck, self.inner.check(request)).await
    }

    async fn gc(&self, request: Gc) -> Result<Freed, CniError> {
        self.answer(Point::AnswerGc, self.inner.gc(request)).await
    }

    async fn status(&self) -> NodeStatus {
        self.answer(Point::AnswerStatus, self.inner.status()).await
    }

    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        self.answer(Point::AnswerNics, self.inner.nics()).await
    }

    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        self.answer(Point::AnswerPods, self.inner.pods()).await
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}

#[async_trait]
impl<S: ControlService> ControlService for Answers<S> {
    async fn clean(&self, patience: Duration) -> Result<Cleaned, CniError> {
        self.answer(Point::AnswerClean, self.inner.clean(patience)).await
    }

    async fn shutdown(&self) -> Result<(), CniError> {
        self.answer(Point::AnswerShutdown, self.inner.shutdown()).await
    }
}
