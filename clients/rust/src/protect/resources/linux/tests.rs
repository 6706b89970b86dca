use super::*;

#[test]
fn lines_of_memory_are_read() {
    let meminfo = "MemTotal:       16316412 kB\nMemAvailable:    9000000 kB\nBuffers: 1 kB\n";
    assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(9_000_000 * 1024));
    for wrong in [
        "MemTotal: 1 kB\n",
        "MemAvailable: many kB\n",
        "MemAvailable: 1\n",
        "MemAvailable: 18446744073709551615 kB\n",
    ] {
        assert_eq!(kibibytes(wrong, "MemAvailable:"), None, "{wrong}");
    }
    let status = "Name:\torders\nVmHWM:\t    2000 kB\nVmRSS:\t    1836 kB\nRssAnon:\t     112 kB\n";
    assert_eq!(resident(status), Some(1_836 * 1024));
    assert_eq!(resident("Name:\tkthreadd\n"), None, "a process without memory of its own");
}

#[test]
fn the_cpus_a_process_may_run_on_are_counted() {
    for (list, expected) in [
        ("0-1", Some(2)),
        ("0", Some(1)),
        ("0-3,8", Some(5)),
        ("1,3,5-7", Some(5)),
        ("3-1", None),
        ("", None),
        ("a-b", None),
    ] {
        let status = format!("Cpus_allowed:\t3\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\n");
        assert_eq!(allowed_cpus(&status), expected, "{list}");
    }
    assert_eq!(allowed_cpus("Name:\torders\n"), None);
}

#[test]
fn cpu_time_is_read_behind_any_name() {
    let rest = "S 1 10 10 0 -1 4194560 900 0 0 0 120 35 7 7 20 0 9 0 137 31334400 418 18446744073709551615";
    for name in ["orders", "a b", "x) R 1 (y", ")"] {
        let stat = format!("10 ({name}) {rest}\n");
        assert_eq!(cpu_time(&stat), Some(Duration::from_millis(1_550)), "{name}");
    }
    for wrong in ["", "10 (orders", "10 (orders) S 1 2", "10 (orders) S 1 2 3 4 5 6 7 8 9 10 user 35"] {
        assert_eq!(cpu_time(wrong), None, "{wrong}");
    }
}

#[test]
fn quotas_as_a_table() {
    for (cpu_max, expected) in [
        ("150000 100000\n", Some(1.5)),
        ("5000 100000\n", Some(0.05)),
        ("max 100000\n", None),
        ("0 100000\n", None),
        ("100000 0\n", None),
        ("100000\n", None),
        ("", None),
    ] {
        assert_eq!(quota(cpu_max), expected, "{cpu_max}");
    }
}

#[test]
fn the_group_is_that_of_version_2() {
    let cgroup = "12:cpu:/x\n0::/system.slice/orders.service\n";
    assert_eq!(group_path(cgroup), Some("/system.slice/orders.service"));
    assert_eq!(group_path("1:memory:/docker/abc\n"), None);
    assert_eq!(group_path("0::\n"), None);
}

#[test]
fn what_a_group_still_allows_as_a_table() {
    for (max, current, stat, expected) in [
        ("max\n", "100\n", "", None),
        ("1000\n", "400\n", "anon 300\ninactive_file 100\n", Some(700)),
        ("1000\n", "400\n", "anon 300\n", Some(600)),
        ("1000\n", "1200\n", "", Some(0)),
        ("1000\n", "100\n", "inactive_file 300\n", Some(1_000)),
        ("1000\n", "unknown\n", "", None),
    ] {
        assert_eq!(left(max, current, stat), expected, "{max} {current} {stat}");
    }
}

#[test]
fn what_is_free_is_the_least_that_is_known() {
    assert_eq!(least(Some(5), Some(3)), Some(3));
    assert_eq!(least(Some(3), Some(5)), Some(3));
    assert_eq!((least(Some(3), None), least(None, Some(5)), least(None, None)), (Some(3), Some(5), None));
}

/// Files as the kernel writes them, of a group within another.
#[test]
fn the_tightest_group_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outer, inner) = (folder.path().join("outer"), folder.path().join("outer/inner"));
    fs::create_dir_all(&inner).expect("a folder");
    let write = |group: &Path, file: &str, text: &str| fs::write(group.join(file), text).expect("a file");
    write(&inner, "memory.max", "max\n");
    write(&inner, "memory.current", "100\n");
    write(&inner, "cpu.max", "400000 100000\n");
    write(&outer, "memory.max", "1000\n");
    write(&outer, "memory.current", "300\n");
    write(&outer, "cpu.max", "250000 100000\n");
    let groups = [inner, outer, folder.path().to_owned()];
    assert_eq!(left_in_any(&groups), Some(700));
    assert_eq!(cpus("Cpus_allowed_list:\t0-7\n", &groups), Some(2.5));
    assert_eq!(cpus("Cpus_allowed_list:\t0-1\n", &groups), Some(2.0), "it may not run on more");
    assert_eq!(cpus("", &groups), Some(2.5));
    assert_eq!((left_in_any(&[]), cpus("", &[])), (None, None));
    assert_eq!(cpus("Cpus_allowed_list:\t0-7\n", &[]), available_parallelism());
}

#[cfg(target_os = "linux")]
#[test]
fn the_real_machine_has_plausible_figures() {
    let found = read();
    let mib = |bytes: Option<u64>| bytes.map(|bytes| bytes >> 20);
    assert!(mib(found.memory).is_some_and(|mib| (1..1 << 14).contains(&mib)), "{found:?}");
    assert!(mib(found.free).is_some_and(|mib| (1..1 << 30).contains(&mib)), "{found:?}");
    assert!(found.cpus.is_some_and(|cpus| cpus > 0.0 && cpus < 10_000.0), "{found:?}");
    assert!(found.cpu_time.is_some_and(|used| used < Duration::from_secs(86_400)), "{found:?}");
    let allocated = vec![1_u8; 64 << 20];
    let grown = read().memory.zip(found.memory).map(|(now, before)| now.saturating_sub(before));
    assert!(grown.is_some_and(|bytes| bytes > 16 << 20), "{grown:?} for {} bytes", allocated.len());
}
