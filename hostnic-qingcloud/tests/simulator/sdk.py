"""What a program does with the official SDK; run by sdk.rs with the simulator's port."""

import datetime
import sys
import time

import qingcloud.conn.auth
import qingcloud.iaas
from qingcloud.iaas.sg_rule import SecurityGroupRuleFactory

PORT = int(sys.argv[1])
VXNET = "vxnet-aaaaaaa"


def connect(access_key="AK", secret_key="SK", zone="sim1"):
    return qingcloud.iaas.APIConnection(
        access_key, secret_key, zone, host="127.0.0.1", port=PORT, protocol="http"
    )


CLOUD = connect()


def ok(answer):
    assert answer and answer["ret_code"] == 0, answer
    return answer


def wait(answer):
    """Waits for the job of an answer."""
    job = ok(answer)["job_id"]
    for _ in range(200):
        (found,) = ok(CLOUD.describe_jobs([job]))["job_set"]
        if found["status"] not in ("pending", "working"):
            assert found["status"] == "successful", found
            return
        time.sleep(0.05)
    raise AssertionError("job %s does not end" % job)


def nics():
    made = ok(CLOUD.create_nics(VXNET, nic_name="a b+c~d*e/f=g&h:\u4e2d", count=105))["nics"]
    ids = [nic["nic_id"] for nic in made]
    tag = ok(CLOUD.create_tag("sdk"))["tag_id"]
    pairs = [{"tag_id": tag, "resource_type": "nic", "resource_id": nic} for nic in ids]
    ok(CLOUD.attach_tags(pairs))

    first = ok(CLOUD.describe_nics(vxnets=[VXNET], limit=200))
    rest = ok(CLOUD.describe_nics(vxnets=[VXNET], vxnet_type=1, offset=100, limit=200))
    assert first["total_count"] == 105 and len(first["nic_set"]) == 100, first["total_count"]
    listed = first["nic_set"] + rest["nic_set"]
    assert {nic["nic_id"] for nic in listed} == set(ids)
    assert all(nic["nic_name"] == "a b+c~d*e/f=g&h:\u4e2d" for nic in listed)
    assert all([t["tag_id"] for t in nic["tags"]] == [tag] for nic in listed)

    some = ids[:3]
    wait(CLOUD.attach_nics(some, "i-node1"))
    attached = ok(CLOUD.describe_nics(nics=some, status="in-use"))["nic_set"]
    assert [nic["instance_id"] for nic in attached] == ["i-node1"] * 3
    (instance,) = ok(CLOUD.describe_instances(instances=["i-node1"], verbose=1))["instance_set"]
    assert len(instance["vxnets"]) == 4, instance
    assert CLOUD.delete_nics(some)["ret_code"] == 1400
    wait(CLOUD.detach_nics(some))
    ok(CLOUD.detach_tags(pairs))
    ok(CLOUD.delete_tags([tag]))
    ok(CLOUD.delete_nics(ids))


def vips():
    body = {"vxnet_id": VXNET, "vip_name": "sdk", "vip_range": "192.168.50.200-192.168.50.204", "count": 5}
    wait(CLOUD.send_request("AllocateVips", body))
    found = ok(CLOUD.send_request("DescribeVips", {"vxnets": [VXNET], "limit": 100}))["vip_set"]
    assert [vip["vip_addr"] for vip in found] == ["192.168.50.%d" % n for n in range(200, 205)]
    wait(CLOUD.send_request("ReleaseVips", {"vips": [vip["vip_id"] for vip in found]}))
    assert ok(CLOUD.send_request("DescribeVips", {"vxnets": [VXNET]}))["total_count"] == 0


def security_groups():
    (group,) = ok(CLOUD.describe_security_groups())["security_group_set"]
    group = group["security_group_id"]
    rule = SecurityGroupRuleFactory.create(
        SecurityGroupRuleFactory.PROTOCOL_TCP, 1, direction=0, action="accept",
        security_group_rule_name="sdk", start_port=80, end_port=81, ip_network="10.0.0.0/8",
    )
    added = ok(CLOUD.add_security_group_rules(group, [rule.to_json()]))["security_group_rules"]
    wait(CLOUD.apply_security_group(group))
    (applied,) = ok(CLOUD.describe_security_groups([group], verbose=1))["security_group_set"]
    assert applied["is_applied"] == 1
    rules = ok(CLOUD.describe_security_group_rules(group))["security_group_rule_set"]
    (read,) = rules
    assert (read["val1"], read["val2"], read["val3"]) == ("80", "81", "10.0.0.0/8"), read
    ok(CLOUD.delete_security_group_rules(added))


def other_lists():
    assert ok(CLOUD.describe_vxnets([VXNET]))["vxnet_set"][0]["router"]["manager_ip"] == "192.168.50.1"
    assert ok(CLOUD.describe_vxnet_instances("vxnet-primary"))["total_count"] == 2
    assert ok(CLOUD.describe_routers())["router_set"][0]["status"] == "active"
    assert ok(CLOUD.describe_router_vxnets("rtr-simulate"))["total_count"] == 3
    assert ok(CLOUD.describe_access_keys(["AK"]))["access_key_set"][0]["status"] == "active"
    made = ok(CLOUD.create_vxnets("sdk", 1))["vxnets"]
    wait(CLOUD.join_router(made[0], "rtr-simulate", "192.168.70.0/24"))
    wait(CLOUD.leave_router("rtr-simulate", made))
    ok(CLOUD.delete_vxnets(made))


def by_post():
    made = ok(CLOUD.send_request("CreateNics", {"vxnet": VXNET, "nic_name": "by post+"}, verb="POST"))
    nic = made["nics"][0]["nic_id"]
    found = ok(CLOUD.send_request("DescribeNics", {"nics": [nic]}, url="/iaas", verb="POST"))
    assert found["nic_set"][0]["nic_name"] == "by post+"
    ok(CLOUD.send_request("DeleteNics", {"nics": [nic]}, verb="POST"))


def refused():
    for verb in ("GET", "POST"):
        def code(cloud):
            return cloud.send_request("DescribeNics", {}, verb=verb)["ret_code"]

        assert code(connect(access_key="OTHER")) == 1200
        assert code(connect(secret_key="OTHER")) == 1200
        assert code(connect(zone="sim2")) == 1101
        now = qingcloud.conn.auth.get_ts
        old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=90)
        qingcloud.conn.auth.get_ts = lambda: old.strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            assert code(CLOUD) == 1300
        finally:
            qingcloud.conn.auth.get_ts = now


nics()
vips()
security_groups()
other_lists()
by_post()
refused()
