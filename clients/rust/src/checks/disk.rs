//! Free space of a file system.

use std::path::{Path, PathBuf};

use super::enough;
use crate::{Check, Report};

/// Checks the space that is free for this process on the file system that holds `path`, a file or a
/// folder that exists. Unhealthy below `min_free_bytes` or where it cannot be read, degraded below
/// twice that.
///
/// Details: `free_bytes`, `total_bytes`.
pub fn disk_space(path: impl Into<PathBuf>, min_free_bytes: u64) -> Check {
    let path = path.into();
    // A network file system that is away blocks who asks it.
    Check::blocking(move || measure(&path, min_free_bytes))
}

fn measure(path: &Path, min_free_bytes: u64) -> Report {
    match fs4::statvfs(path) {
        Ok(figures) => {
            enough(&format!("disk of {}", path.display()), figures.available_space(), min_free_bytes)
                .detail("free_bytes", figures.available_space())
                .detail("total_bytes", figures.total_space())
        }
        Err(error) => Report::unhealthy(format!("cannot read the free space of {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState;

    #[tokio::test]
    async fn a_real_disk_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let plenty = disk_space(folder.path(), 1).run().await;
        assert_eq!(plenty.state(), HealthState::Healthy);
        let free: u64 = plenty.details()["free_bytes"].parse().expect("a number");
        assert!(free > 0);
        let full = disk_space(folder.path(), u64::MAX).run().await;
        assert_eq!(full.state(), HealthState::Unhealthy);
        let gone = disk_space(folder.path().join("gone"), 1).run().await;
        assert_eq!(gone.state(), HealthState::Unhealthy);
        assert!(gone.message().starts_with("cannot read the free space of "), "{}", gone.message());
    }
}
