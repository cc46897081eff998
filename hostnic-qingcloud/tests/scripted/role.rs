//! The keys of an instance's role.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::cloud::NicFilter;
use hostnic_core::{ErrorKind, NicProvider, Result};
use hostnic_qingcloud::{Config, QingCloudProvider};
use serde_json::json;

use crate::script::{Reply, Script, nics, no, provider_of, with_body};

/// The end of 2026-01-01T01:00:00Z, an hour after the tests begin.
const IN_AN_HOUR: u64 = 1_767_229_200;

fn lent(key: &str, expiration: u64) -> Reply {
    let object = json!({"jti": "x", "access_key": key, "secret_key": "ROLE-SECRET", "id_token": "J.W.T",
        "expiration": expiration});
    with_body(200, &object.to_string())
}

async fn provider(replies: impl IntoIterator<Item = Reply>) -> (QingCloudProvider, Arc<Script>) {
    let script = Script::new(replies);
    (provider_of(Config::with_instance_role("pek3a"), &script).await, script)
}

async fn list(provider: &QingCloudProvider) -> Result<()> {
    provider.list_nics(&NicFilter::default()).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn a_key_is_asked_for_once_and_renewed_before_its_end() {
    let replies = [lent("A", IN_AN_HOUR), nics(&[]), nics(&[]), lent("B", IN_AN_HOUR * 2), nics(&[])];
    let (provider, script) = provider(replies).await;
    list(&provider).await.unwrap();
    tokio::time::advance(Duration::from_secs(3400)).await;
    list(&provider).await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    list(&provider).await.unwrap();
    let asked = script.asked();
    let seen: Vec<_> = asked.iter().map(|asked| (asked.path.as_str(), asked.get("access_key_id"))).collect();
    let proxy = ("/latest/meta-data/security-credentials", "");
    assert_eq!(seen, [proxy, ("/iam", "A"), ("/iam", "A"), proxy, ("/iam", "B")]);
    assert_eq!(asked[1].get("token"), "J.W.T");
}

#[tokio::test(start_paused = true)]
async fn an_old_key_is_used_while_it_lasts_when_no_new_one_is_to_be_had() {
    let replies = [lent("A", IN_AN_HOUR), nics(&[]), with_body(500, ""), nics(&[]), with_body(500, "")];
    let (provider, script) = provider(replies).await;
    list(&provider).await.unwrap();
    tokio::time::advance(Duration::from_secs(3550)).await;
    list(&provider).await.unwrap();
    tokio::time::advance(Duration::from_secs(51)).await;
    let error = list(&provider).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(script.asked()[3].get("access_key_id"), "A");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_is_replaced_once() {
    let refused = || no(1200, "AuthFailure, the key has ended");
    let replies = [
        lent("A", IN_AN_HOUR),
        refused(),
        lent("B", IN_AN_HOUR),
        nics(&[]),
        refused(),
        lent("C", IN_AN_HOUR),
        refused(),
    ];
    let (provider, script) = provider(replies).await;
    list(&provider).await.unwrap();
    assert_eq!(list(&provider).await.unwrap_err().kind(), ErrorKind::Unauthorised);
    assert_eq!(script.asked().last().unwrap().get("access_key_id"), "C");
}

#[tokio::test(start_paused = true)]
async fn without_a_role_the_error_says_what_to_do_and_no_secret_is_shown() {
    let (without, _) = provider([with_body(404, "")]).await;
    let error = list(&without).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorised);
    assert!(error.chain().to_string().contains("this instance has no role"), "{}", error.chain());

    let (odd, _) = provider([with_body(200, r#"{"secret_key":"ROLE-SECRET","id_token":{"J.W.T":1}}"#)]).await;
    let error = list(&odd).await.unwrap_err();
    let shown = format!("{} {error:?} {odd:?}", error.chain());
    assert!(!shown.contains("ROLE-SECRET") && !shown.contains("J.W.T"), "{shown}");
}
