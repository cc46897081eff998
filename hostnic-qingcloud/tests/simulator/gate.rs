//! Who is let in, and which parameters are taken.

use std::time::{Duration, SystemTime};

use hostnic_qingcloud::sign::{Digest, Method};
use hostnic_qingcloud::simulator::RoleCredentials;

use crate::client::{Client, exchange};
use crate::{config, start, start_with};

#[tokio::test]
async fn both_methods_both_paths_and_both_digests_are_taken() {
    let (_simulator, client) = start().await;
    for method in [Method::Get, Method::Post] {
        for path in ["/iaas", "/iaas/"] {
            for digest in [Digest::Sha256, Digest::Sha1] {
                let client = Client { method, path, digest, ..client.clone() };
                client
                    .ok("DescribeNics", "limit=0&offset=0&verbose=0&version=1&req_id=abc&nics.1=a%20b")
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_secret_zone_or_time_is_refused() {
    let (_simulator, client) = start().await;
    let refused = async |client: Client| client.refused("DescribeNics", "").await.0;
    assert_eq!(refused(Client { access_key: "OTHER", ..client.clone() }).await, 1200);
    assert_eq!(refused(Client { secret_key: "OTHER", ..client.clone() }).await, 1200);
    assert_eq!(refused(Client { zone: "sim2", ..client.clone() }).await, 1101);
    assert_eq!(refused(Client { age: Duration::from_secs(62), ..client.clone() }).await, 1300);
    client.ok("DescribeNics", "").await;
    // A longer life that the request itself asks for, and one that is over.
    let old = Client { age: Duration::from_secs(600), ..client };
    old.ok("DescribeNics", "expires=2999-01-01T00:00:00Z").await;
    assert_eq!(old.refused("DescribeNics", "expires=2001-01-01T00:00:00Z").await.0, 1300);
}

#[tokio::test]
async fn a_parameter_that_is_wrong_is_named() {
    let (_simulator, client) = start().await;
    for (action, arguments, code, name) in [
        ("DescribeNics", "colour=red", 1100, "[colour]"),
        ("DescribeNics", "limit=many", 1100, "[limit]"),
        ("DescribeNics", "status=lost", 1101, "[status]"),
        ("CreateNics", "count=1", 1100, "[vxnet]"),
        ("CreateNics", "vxnet=vxnet-aaaaaaa&count=253", 1101, "[count]"),
        ("createnics", "", 1101, "[createnics]"),
    ] {
        let (refused, message) = client.refused(action, arguments).await;
        assert_eq!(refused, code, "{action} {arguments}");
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn what_is_not_the_api_is_not_found() {
    let (simulator, _) = start().await;
    for (line, status) in [("GET /", 404), ("GET /iaasx", 404), ("PUT /iaas", 405)] {
        let request = format!("{line} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
        let answer = exchange(simulator.address(), &request).await.unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (status, "text/html"));
    }
}

#[tokio::test]
async fn a_role_comes_in_with_its_token_only() {
    let mut config = config();
    let expires = SystemTime::now() + Duration::from_secs(3600);
    config.role = Some(RoleCredentials {
        access_key: "ROLE".into(),
        secret_key: "ROLESECRET".into(),
        token: "TOKEN".into(),
        expires,
    });
    let (simulator, client) = start_with(config).await;
    let role = Client { access_key: "ROLE", secret_key: "ROLESECRET", path: "/iam", ..client.clone() };
    role.ok("DescribeNics", "token=TOKEN").await;
    assert_eq!(role.refused("DescribeNics", "token=OTHER").await.0, 1200);
    assert_eq!(role.refused("DescribeNics", "").await.0, 1200);
    assert_eq!(Client { path: "/iaas", ..role }.refused("DescribeNics", "token=TOKEN").await.0, 1200);
    assert_eq!(Client { path: "/iam", ..client }.refused("DescribeNics", "token=TOKEN").await.0, 1200);
    assert!(!format!("{:?}", simulator.history()).contains("TOKEN"));
}
