//! Every place where a node has an effect, or waits for the world, by name; and who is told when one is passed.
//!
//! A durable write, a call to the cloud, a change of the kernel and an answer each go through one function, which asks for
//! the [`Point`] that it is called at. Nobody listens in production; a test that does can stop a node, or kill it, at each
//! of them.

use std::fmt::{self, Debug};
use std::sync::Arc;

/// On which side of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It is about to happen.
    Before,
    /// It has happened, well or badly, and nothing else has.
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// Who is told when a node passes a point. It is called in the middle of the node's work, with locks held: it must be
/// quick, and ask the node nothing.
pub trait Probe: Send + Sync + Debug {
    /// The node is at this side of the point.
    fn reached(&self, point: Point, side: Side);
}

/// What a point is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Records become durable.
    Write,
    /// The cloud is asked.
    Cloud,
    /// The kernel is asked or programmed.
    Kernel,
    /// Whoever gives addresses to pods that share a NIC is asked.
    Source,
    /// Whoever enforces network policies is told.
    Policy,
    /// Somebody is answered. What comes after it is whoever asked's to see.
    Answer,
}

macro_rules! points {
    ($($kind:ident { $($(#[$doc:meta])* $name:ident,)* })*) => {
        /// A place in the code, called from there and from nowhere else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Point {
            $($($(#[$doc])* $name,)*)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// What it is about.
            pub fn kind(self) -> Kind {
                match self {
                    $($(Self::$name)|* => Kind::$kind,)*
                }
            }

            /// Its name, as in the code.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$name => stringify!($name),)*)*
                }
            }
        }
    };
}

points! {
    Write {
        /// An ADD: the lease holds its address.
        PrepareLease,
        /// An ADD: the runtime is about to be answered.
        ActivateLease,
        /// A repeated ADD: what only the runtime knew of a lease that was rebuilt.
        CompleteLease,
        /// A pod behind a veth that runs: what it is to have in common with all others.
        AdaptPlan,
        /// A DEL has begun.
        BeginRelease,
        /// A lease is over.
        EndLease,
        /// An ADD in vain of a pod that shares a NIC: its address is to be given back.
        UndoShared,
        /// The address of a pod that shared a NIC was given back.
        EndShared,
        /// Pods that share a NIC get another one in the place of one that is lost.
        MoveShared,
        /// A comparison: the sandbox of a lease is gone.
        BeginReleaseOfGone,
        /// A comparison: a NIC of ours that nobody had recorded.
        RecordStray,
        /// A comparison: a NIC of ours that nobody has comes into the pool, or is set aside.
        RecordIdle,
        /// A comparison: a NIC that the cloud has no more.
        ForgetMissing,
        /// A comparison: a NIC that is another instance's.
        RecordLost,
        /// A comparison: a pod and its NIC that nobody had recorded.
        RebuildLease,
        /// A comparison: a pod that shares a NIC and that nobody had recorded.
        RebuildShared,
        /// A comparison: a NIC that somebody unplugged.
        RecordUnplugged,
        /// The pool: an address has rested.
        ThawAddress,
        /// The pool: NICs are about to be asked for.
        RecordIntent,
        /// The pool: a NIC that is there already is lent to a pod.
        RecordLent,
        /// The pool: a NIC for one pod is left to another.
        RecordEntrusted,
        /// The pool: no NICs came of an intent.
        DropIntent,
        /// The pool: what an intent came to could not be told.
        PostponeIntent,
        /// The pool: NICs were made.
        RecordNics,
        /// The pool: a job attaches them.
        RecordAttachJob,
        /// The pool: an attach was refused.
        RecordAttachFailure,
        /// The pool: a link is there.
        RecordReady,
        /// The pool: a link never came.
        RecordGivenUp,
        /// The pool: where NICs were found whose call had an unknown outcome.
        RecordExamined,
        /// The pool: NICs are about to be given back.
        BeginDetach,
        /// The pool: a job detaches them.
        RecordDetachJob,
        /// The pool: they were detached already.
        RecordDetachedAlready,
        /// The pool: a job has detached them.
        RecordDetached,
        /// The pool: they are deleted.
        DropNics,
    }
    Cloud {
        /// The instance, its NICs and its subnets, at the start.
        Survey,
        /// The subnets, where one was full.
        SurveySubnets,
        /// The subnets, in a comparison.
        CompareSubnets,
        /// New NICs.
        CreateNics,
        /// A subnet that a pod asks for by its name, or that a create was in.
        DescribeWished,
        /// Who has an address that a pod asks for.
        FindHolder,
        /// A NIC that a pod asks for by its name.
        FindWished,
        /// The tags of a NIC that a pod asks for by its name.
        ReadTags,
        /// A tag for what was made.
        PutTags,
        /// What came of a create whose answer was lost.
        LookUpCreated,
        /// The way in.
        AttachNics,
        /// The jobs that are under way.
        PollJobs,
        /// NICs whose call had an unknown outcome.
        ExamineNics,
        /// The way out.
        DetachNics,
        /// The end.
        DeleteNics,
        /// A comparison: what is attached here.
        ListAttached,
        /// A comparison: what is attached nowhere.
        ListAvailable,
        /// A comparison: subnets of NICs that are configured no more.
        DescribeStrangeSubnets,
        /// A comparison: whether a NIC that is missing is gone.
        ConfirmMissing,
        /// A gateway may send what is not its own.
        AllowForwarding,
    }
    Kernel {
        /// What the node needs for its pods: at the start, and where that has changed.
        SetUpNode,
        /// What is waited for at all times: a change of the node's own addresses.
        AwaitAddresses,
        /// A comparison: the node with its plan.
        CompareNode,
        /// An ADD: whose the namespace is.
        FindSandbox,
        /// An ADD: the pod's interface.
        SetUpPod,
        /// An ADD whose NIC is missing: whether its namespace is the same still.
        FindSandboxAgain,
        /// An ADD whose NIC is missing: its way back.
        AwaitNicOfPod,
        /// An ADD whose NIC was missing: the pod's interface.
        SetUpPodAgain,
        /// A repeated ADD: the pod's interface.
        SetUpPodAnew,
        /// A pod behind a veth, a while after its ADD: the subnet hears of it again.
        AnnouncePodAgain,
        /// A pod behind a veth that runs: what it has in common with all others.
        AdaptPod,
        /// A DEL: the end of the pod's traffic.
        SilencePod,
        /// An answered DEL: the NIC's way back.
        GiveNicBack,
        /// An answered DEL: what is remembered of the pod's address.
        ForgetPod,
        /// An undone ADD or a repeated DEL: all at once.
        TearDownPod,
        /// A DEL that no record is about.
        TearDownMarked,
        /// A CHECK: whose the namespace is.
        CheckSandbox,
        /// A CHECK: the pod's interface.
        CheckPod,
        /// A comparison: what is there.
        ObserveKernel,
        /// A comparison: whether the sandbox lives whose NIC is back.
        FindSandboxOfNic,
        /// A comparison: the NIC is put back into its pod.
        PutNicBack,
        /// A comparison: a pod with its plan.
        ComparePod,
        /// A comparison: a pod that was changed.
        RepairPod,
        /// The start: NICs that pods shared before.
        ResumeSharedNic,
        /// A NIC that pods share, with the address that it asks by ARP from.
        SetUpSharedNic,
        /// A comparison: such a NIC with its plan.
        CompareSharedNic,
        /// The pool: such a NIC before it goes.
        TearDownSharedNic,
        /// The pool: the link of a NIC on its way in.
        AwaitLink,
        /// The start: gateways that were there before.
        ResumeGateways,
        /// The gateways, set up or taken down.
        SetUpGateways,
        /// A comparison: the gateways with their plans.
        CompareGateways,
        /// One message to the kernel that changes a link, an address, a route or a rule. Most of the above are several.
        ChangeKernel,
        /// A frame that tells a subnet at which NIC the address of a pod is that shares it.
        AnnounceShared,
        /// A message to a DHCP server, about the node's own address on a NIC that pods share in a VLAN.
        AskForAddress,
        /// Frames that ask a subnet whether somebody has the address that a DHCP server gave.
        AskWhoHasAddress,
        /// Tables of nftables in the node, in one batch.
        ChangeFilter,
        /// The end of pods: what connection tracking knows of their addresses, in one walk for all that end together.
        ForgetFlows,
        /// A setting of the whole node, such as that it forwards.
        ChangeSetting,
    }
    Source {
        /// The start: what the records say is held.
        RestoreAddresses,
        /// A comparison: what a pod holds that nobody had recorded.
        RestoreFound,
        /// All that is held has been told.
        SettleAddresses,
        /// An ADD: an address.
        ClaimAddress,
        /// An answered DEL, or an undone ADD: it is given back.
        ReleaseAddress,
    }
    Policy {
        /// An ADD: the pod's address.
        TellEnforcer,
    }
    Answer {
        /// To an ADD.
        AnswerAdd,
        /// To a DEL.
        AnswerDel,
        /// To a CHECK.
        AnswerCheck,
        /// To a GC.
        AnswerGc,
        /// To a STATUS.
        AnswerStatus,
        /// To a person: the NICs.
        AnswerNics,
        /// To a person: the pods.
        AnswerPods,
        /// To a person: free NICs are given back.
        AnswerClean,
        /// To a person: the node ends.
        AnswerShutdown,
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A node's probe, where it has one.
#[derive(Debug, Clone, Default)]
pub struct Points(Option<Arc<dyn Probe>>);

impl Points {
    /// Those that `probe` is told of.
    pub fn probed(probe: Arc<dyn Probe>) -> Self {
        Self(Some(probe))
    }

    /// Says that the node is at this side of the point.
    pub fn reached(&self, point: Point, side: Side) {
        if let Some(probe) = &self.0 {
            probe.reached(point, side);
        }
    }

    /// What `effect` comes to, between the two sides of the point. An effect whose future is dropped has no after.
    pub async fn pass<F: Future>(&self, point: Point, effect: impl FnOnce() -> F) -> F::Output {
        self.reached(point, Side::Before);
        let done = effect().await;
        self.reached(point, Side::After);
        done
    }
}

/// Something that has effects, to be reached at a point and in no other way.
#[derive(Debug)]
pub(crate) struct Guarded<T: ?Sized> {
    inner: Arc<T>,
    points: Points,
}

impl<T: ?Sized> Guarded<T> {
    pub(crate) fn new(inner: Arc<T>, points: Points) -> Self {
        Self { inner, points }
    }

    /// What `call` comes to, at this point.
    pub(crate) async fn at<'a, F: Future>(
        &'a self,
        point: Point,
        call: impl FnOnce(&'a T) -> F,
    ) -> F::Output {
        self.points.pass(point, || call(&self.inner)).await
    }

    /// Without a point: for what is only left there, to be done by somebody else.
    pub(crate) fn unwatched(&self) -> &T {
        &self.inner
    }
}
