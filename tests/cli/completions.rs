//! The scripts that complete commands: run by the shells themselves, where the machine has them.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use super::{run, stdout};

/// What the shell is asked for, and its script; the shell reads it from the file `$script`.
fn shell(program: &str, args: &[&str], script: &str) -> Option<Output> {
    // It is longer than a variable may be.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(script.as_bytes()).unwrap();
    let child = Command::new(program)
        .args(args)
        .env("script", file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => Some(child.wait_with_output().unwrap()),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => panic!("{program}: {cause}"),
    }
}

async fn script(name: &str) -> String {
    let ended = run(&["completions", name]).await;
    assert_eq!(ended.status.code(), Some(0), "{name}");
    stdout(&ended)
}

/// What bash offers for a line, the last word of which is being typed.
fn offered(script: &str, line: &str) -> Vec<String> {
    let ask = r#"
        . "$script"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _seaworthy seaworthy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let words: Vec<&str> = line.split(' ').collect();
    let args = [&["--norc", "--noprofile", "-c", ask, "bash"], &words[..]].concat();
    let ended = shell("bash", &args, script).unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{line}");
    stdout(&ended).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_commands_flags_and_values() {
    let script = script("bash").await;
    for (line, expected) in [
        ("seaworthy fle", &["fleet"][..]),
        ("seaworthy doc", &["doctor"]),
        ("seaworthy log", &["log-level"]),
        ("seaworthy fleet ", &["list", "get", "watch", "remove"]),
        ("seaworthy fleet list --life", &["--lifecycle"]),
        ("seaworthy fleet list --lifecycle lam", &["lame_duck"]),
        ("seaworthy -o ", &["table", "wide", "json"]),
        ("seaworthy completions ", &["bash", "fish", "zsh", "powershell"]),
        ("seaworthy demo --sp", &["--speed"]),
        ("seaworthy policy ", &["list", "get", "put", "delete", "explain", "watch", "import"]),
        ("seaworthy policy put charges --algo", &["--algorithm"]),
        ("seaworthy policy put charges --algorithm s", &["sliding-window"]),
        ("seaworthy breakers ", &["force", "release"]),
        ("seaworthy breakers force orders charge-card ", &["open", "closed"]),
        ("seaworthy backup ", &["create", "list", "show", "verify", "delete", "undelete"]),
        ("seaworthy restore run orders --force not", &["not-empty"]),
        ("seaworthy vault ", &["list", "verify", "restore", "rebuild-catalog"]),
        ("seaworthy vault verify --depth s", &["structure"]),
        ("seaworthy flags ", &["list", "get", "put", "delete"]),
    ] {
        let offered = offered(&script, line);
        for wanted in expected {
            assert!(offered.iter().any(|it| it == wanted), "{line:?}: {wanted} is not in {offered:?}");
        }
    }
    // What does not begin so is not offered.
    assert_eq!(offered(&script, "seaworthy fleet li"), ["list"]);
}

#[tokio::test]
async fn every_command_is_in_the_script_of_every_shell() {
    let help = stdout(&run(&["--help"]).await);
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let commands: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for name in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = script(name).await;
        let missing: Vec<_> = commands.iter().filter(|command| !script.contains(**command)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

#[tokio::test]
async fn the_shells_of_this_machine_can_read_their_scripts() {
    let checks: [(&str, &str, &[&str]); 4] = [
        ("bash", "bash", &["--norc", "-c", r#"bash -n "$script""#]),
        ("zsh", "zsh", &["-f", "-c", r#"zsh -f -n "$script""#]),
        ("fish", "fish", &["--no-config", "-c", r#"fish --no-execute $script"#]),
        (
            "powershell",
            "pwsh",
            &["-NoProfile", "-Command", "[scriptblock]::Create((Get-Content -Raw $env:script)) | Out-Null"],
        ),
    ];
    let mut read = Vec::new();
    for (name, program, args) in checks {
        let Some(ended) = shell(program, args, &script(name).await) else { continue };
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        read.push(name);
        // The control: what is no script is refused.
        let broken = shell(program, args, "if (( {{ (").unwrap();
        assert!(!broken.status.success(), "{name} takes anything");
    }
    assert!(!read.is_empty(), "there is no shell here at all");
}
