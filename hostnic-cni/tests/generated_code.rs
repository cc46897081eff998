//! The committed gRPC code is what the committed `.proto` file says.

use std::path::Path;

/// Set to write the code anew instead of comparing it.
const UPDATE: &str = "HOSTNIC_UPDATE_GENERATED";

#[test]
fn the_generated_code_is_that_of_the_proto_file() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = package.join("src/contract/generated/hostnic.v1.rs");
    let output = tempfile::tempdir().unwrap();
    let definition = protox::compile(["hostnic.proto"], [package.join("proto")]).unwrap();
    // Without "transport" the client has no constructor of its own and works over any connection, which is all we use.
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(output.path())
        .compile_fds(definition)
        .unwrap();
    let generated = std::fs::read_to_string(output.path().join("hostnic.v1.rs")).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    let present = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        present == generated,
        "{} is out of date; run `{UPDATE}=1 cargo test -p hostnic-cni --test generated_code` and commit it",
        committed.display()
    );
}
