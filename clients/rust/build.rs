//! Compiles `proto/` into messages and client stubs, without protoc.

use std::error::Error;

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
    let mut health = protox::compile([PROTOS[0]], ["proto"])?;
    health.file.retain(|file| file.package() == "grpc.health.v1");
    // The server looks messages up by their names.
    let named = || {
        let mut config = tonic_prost_build::Config::new();
        config.enable_type_names();
        config
    };
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(health, named())?;

    let api = protox::compile(&PROTOS[1..], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(api, named())?;
    Ok(())
}
