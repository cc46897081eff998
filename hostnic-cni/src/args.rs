//! `CNI_ARGS`: pairs that a runtime passes beside the configuration.
//!
//! They are read for an ADD only: it alone needs the pod, and what is wrong in them must not keep a DEL from freeing.

use hostnic_core::attachment::PodRef;

use crate::contract::pod_ref;
use crate::error::{CniError, Code};

/// What a runtime may say in `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args {
    /// The pod, where the runtime is Kubernetes'.
    pub pod: Option<PodRef>,
}

fn wrong(what: std::fmt::Arguments<'_>) -> CniError {
    CniError::new(Code::InvalidEnvironment, format_args!("CNI_ARGS {what}"))
}

impl Args {
    /// Reads `KEY=VALUE;KEY=VALUE`. A key that is unknown is an error unless `IgnoreUnknown` is `1` or `true`.
    ///
    /// # Errors
    /// Code 4, which names the pair.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        let (mut namespace, mut name, mut uid) = ("", "", "");
        let (mut unknown, mut ignore_unknown) = (None, false);
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            match pair.split_once('=') {
                Some((_, value)) if value.contains('=') => {
                    return Err(wrong(format_args!("has the pair {pair:?} with more than one '='")));
                }
                None => return Err(wrong(format_args!("has the pair {pair:?} without '='"))),
                Some(("IgnoreUnknown", value)) => ignore_unknown = boolean(value)?,
                Some(("K8S_POD_NAMESPACE", value)) => namespace = value,
                Some(("K8S_POD_NAME", value)) => name = value,
                Some(("K8S_POD_UID", value)) => uid = value,
                // The same as CNI_CONTAINERID, for plugins older than that.
                Some(("K8S_POD_INFRA_CONTAINER_ID", _)) => {}
                Some((key, _)) => unknown = unknown.or(Some(key)),
            }
        }
        if let Some(key) = unknown.filter(|_| !ignore_unknown) {
            return Err(wrong(format_args!(
                "has the unknown key {key:?}; IgnoreUnknown=1 would have it left aside"
            )));
        }
        if namespace.is_empty() && name.is_empty() {
            return Ok(Self::default());
        }
        let pod = pod_ref(namespace, name, uid).map_err(|error| wrong(format_args!("is wrong: {error}")))?;
        Ok(Self { pod: Some(pod) })
    }
}

fn boolean(value: &str) -> Result<bool, CniError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(wrong(format_args!("has IgnoreUnknown={value:?}; it must be 0, 1, false or true"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_kubernetes_passes_is_understood() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=coredns-1;\
                    K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u-1;SOMETHING_NEW=x";
        let pod = Args::parse(text).unwrap().pod.unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("kube-system", "coredns-1"));
        assert_eq!(pod.uid.as_deref(), Some("u-1"));
    }

    #[test]
    fn no_pod_is_told_by_no_arguments_or_empty_ones() {
        for text in
            ["", "K8S_POD_NAME=;K8S_POD_NAMESPACE=", "IgnoreUnknown=true;A=b", "A=;IgnoreUnknown=TRUE"]
        {
            assert_eq!(Args::parse(text), Ok(Args::default()), "{text:?}");
        }
    }

    #[test]
    fn a_fault_is_named() {
        for (text, named) in [
            ("A=b", "\"A\""),
            ("IgnoreUnknown=0;A=b", "\"A\""),
            ("IgnoreUnknown=maybe", "\"maybe\""),
            ("IgnoreUnknown", "\"IgnoreUnknown\""),
            ("A=b=c;IgnoreUnknown=1", "\"A=b=c\""),
            ("IgnoreUnknown=1;", "\"\""),
            ("K8S_POD_NAME=a", "pod namespace"),
            ("K8S_POD_NAMESPACE=a;K8S_POD_NAME=../b", "\"../b\""),
        ] {
            let error = Args::parse(text).unwrap_err();
            assert_eq!(error.code, Code::InvalidEnvironment);
            assert!(error.message.contains("CNI_ARGS") && error.message.contains(named), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_the_code_of_the_environment(text in "(?s)[A-Za-z_=;8/. \\PC]{0,60}") {
            if let Err(error) = Args::parse(&text) {
                prop_assert_eq!(error.code, Code::InvalidEnvironment);
            }
        }

        #[test]
        fn a_pod_is_read_wherever_it_stands(name in "[a-z0-9.-]{1,20}", front in any::<bool>()) {
            let pod = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}");
            let text = if front { format!("{pod};X=y;IgnoreUnknown=1") } else { format!("X=y;IgnoreUnknown=1;{pod}") };
            prop_assert_eq!(Args::parse(&text).unwrap().pod.unwrap().name, name);
        }
    }
}
