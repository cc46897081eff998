//! Every action that the simulator knows: its name, its parameters, and what carries it out.

use super::account::{
    Answer, Call, access_key, cluster, instance, job, nic, quota, router, rule, security_group, tag, vip,
    vxnet,
};
use super::parameter::Parameter;

/// An action of the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) takes: &'static [Parameter],
    pub(super) run: fn(&mut Call<'_>) -> Answer,
}

impl Action {
    /// Whether it can change anything.
    pub(super) fn changes(&self) -> bool {
        !self.name.starts_with("Describe") && !self.name.starts_with("Get")
    }
}

const fn action(name: &'static str, takes: &'static [Parameter], run: fn(&mut Call<'_>) -> Answer) -> Action {
    Action { name, takes, run }
}

/// All of them.
pub(super) const ACTIONS: &[Action] = &[
    action("AddSecurityGroupRules", rule::ADD, rule::add),
    action("AllocateVips", vip::ALLOCATE, vip::allocate),
    action("ApplySecurityGroup", security_group::APPLY, security_group::apply),
    action("AttachNics", nic::ATTACH, nic::attach),
    action("AttachTags", tag::ATTACH, tag::attach),
    action("CreateNics", nic::CREATE, nic::create),
    action("CreateTag", tag::CREATE, tag::create),
    action("CreateVxnets", vxnet::CREATE, vxnet::create),
    action("DeleteNics", nic::DELETE, nic::delete),
    action("DeleteSecurityGroupRules", rule::DELETE, rule::delete),
    action("DeleteTags", tag::DELETE, tag::delete),
    action("DeleteVxnets", vxnet::DELETE, vxnet::delete),
    action("DescribeAccessKeys", access_key::DESCRIBE, access_key::describe),
    action("DescribeClusterNodes", cluster::DESCRIBE_NODES, cluster::describe_nodes),
    action("DescribeClusters", cluster::DESCRIBE, cluster::describe),
    action("DescribeInstances", instance::DESCRIBE, instance::describe),
    action("DescribeJobs", job::DESCRIBE, job::describe),
    action("DescribeNics", nic::DESCRIBE, nic::describe),
    action("DescribeRouterVxnets", router::DESCRIBE_VXNETS, router::describe_vxnets),
    action("DescribeRouters", router::DESCRIBE, router::describe),
    action("DescribeSecurityGroupRules", rule::DESCRIBE, rule::describe),
    action("DescribeSecurityGroups", security_group::DESCRIBE, security_group::describe),
    action("DescribeTags", tag::DESCRIBE, tag::describe),
    action("DescribeVips", vip::DESCRIBE, vip::describe),
    action("DescribeVxnetInstances", instance::DESCRIBE_IN_VXNET, instance::describe_in_vxnet),
    action("DescribeVxnets", vxnet::DESCRIBE, vxnet::describe),
    action("DetachNics", nic::DETACH, nic::detach),
    action("DetachTags", tag::DETACH, tag::detach),
    action("GetQuotaLeft", quota::LEFT, quota::left),
    action("JoinRouter", router::JOIN, router::join),
    action("LeaveRouter", router::LEAVE, router::leave),
    action("ModifyNicAttributes", nic::MODIFY, nic::modify),
    action("ReleaseVips", vip::RELEASE, vip::release),
];

/// The action of this name, which is compared case by case.
pub(super) fn named(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}
