//! Compiles `proto/` into server stubs and the descriptor set for reflection, without protoc.
//!
//! Messages and client stubs are compiled once, in the client crate; the stubs made here refer to
//! them, so that the CLI, the tests and the server share one set of types.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const PROTOS: [&str; 8] = [
    "grpc/health/v1/health.proto",
    "seaworthy/v1/backup_service.proto",
    "seaworthy/v1/fleet_service.proto",
    "seaworthy/v1/health_service.proto",
    "seaworthy/v1/operation_service.proto",
    "seaworthy/v1/policy_service.proto",
    "seaworthy/v1/restore_service.proto",
    "seaworthy/v1/system_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;

    // Reflection shows comments only if the source locations are kept.
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;
    let described = compiler.file_descriptor_set();
    fs::write(Path::new(&out).join("descriptors.bin"), described.encode_to_vec())?;

    let served = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .codec_path("crate::api::codec::SmallBuffers")
        .extern_path(".grpc.health.v1", "::seaworthy_client::proto::grpc::health::v1")
        .extern_path(".seaworthy.v1", "::seaworthy_client::proto::seaworthy::v1")
        // What many are told alike is encoded once.
        .extern_path(".seaworthy.v1.WatchFleetResponse", "crate::api::codec::Encoded")
        .extern_path(".seaworthy.v1.WatchHealthResponse", "crate::api::codec::Encoded")
        .compile_fds(served)?;
    Ok(())
}
