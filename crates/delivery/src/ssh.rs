//! OpenSSH's client configuration for a key that a lease handed over.
//!
//! One block per key, under an alias, so that two deploy keys for one host do not meet; Git's
//! `insteadOf` leads to the alias. Host keys are always checked: there is no way to render a
//! configuration that trusts an unknown host. Source: `ssh_config(5)`, `sshd(8)` for known hosts.

use std::fmt::Write as _;

use crate::address::Address;

/// One key and where it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name that stands for the host in addresses: `keyferry-app`.
    pub alias: String,
    /// The host, with port where it is not 22.
    pub host: Address,
    /// The user to connect as.
    pub username: String,
    /// Where the private key lies.
    pub key_path: String,
    /// Where the accepted host keys lie.
    pub known_hosts_path: String,
}

/// What was handed over cannot be written into a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Something that would be read as another option.
    #[error(
        "write `{field}` into an SSH configuration; it has characters that do not belong there"
    )]
    Field {
        /// Which part.
        field: &'static str,
    },
    /// Without a host key the server could be anybody.
    #[error("use an SSH key without a host key to check the server by")]
    NoHostKey,
    /// Not a line of a known hosts file.
    #[error("read line {line} of the accepted host keys")]
    HostKey {
        /// Counts from 1.
        line: usize,
    },
    /// Not a private key in PEM.
    #[error("read the private key; it must be in PEM, from BEGIN to END")]
    PrivateKey,
}

/// Returns an `ssh_config` with one block per identity; other hosts get no key and no agent.
pub fn config_file(identities: &[Identity]) -> Result<String, InvalidIdentity> {
    let mut text = String::from("# Made for one job; gone with it.\n");
    for identity in identities {
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        if !word(&identity.alias) {
            return Err(InvalidIdentity::Field { field: "alias" });
        }
        if !word(&identity.username) {
            return Err(InvalidIdentity::Field { field: "username" });
        }
        let key_path = path("key path", &identity.key_path)?;
        let known_hosts_path = path("known hosts path", &identity.known_hosts_path)?;
        let authority = identity.host.authority();
        let (host, port) = split_port(&authority);
        // What the server's key is looked up by, as `ssh-keyscan` writes it.
        let key_name = if port == "22" { host.to_owned() } else { format!("[{host}]:{port}") };
        let _ = write!(
            text,
            "Host {alias}\n  HostName {host}\n  Port {port}\n  User {username}\n  \
             HostKeyAlias {key_name}\n  IdentityFile \"{key_path}\"\n  \
             UserKnownHostsFile \"{known_hosts_path}\"\n",
            alias = identity.alias,
            username = identity.username,
        );
    }
    // The first value found wins in ssh_config, so this block can be last and hold for all.
    text.push_str(
        "Host *\n  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         GlobalKnownHostsFile /dev/null\n  UserKnownHostsFile /dev/null\n  UpdateHostKeys no\n  \
         BatchMode yes\n  PasswordAuthentication no\n  KbdInteractiveAuthentication no\n  \
         ForwardAgent no\n  ForwardX11 no\n  ClearAllForwardings yes\n  PermitLocalCommand no\n  \
         ConnectTimeout 30\n  ServerAliveInterval 30\n",
    );
    Ok(text)
}

/// Returns the value of `GIT_SSH_COMMAND` that uses this configuration and no other.
pub fn git_ssh_command(config_path: &str) -> Result<String, InvalidIdentity> {
    let is_control = config_path.contains(char::is_control);
    if config_path.is_empty() || is_control {
        return Err(InvalidIdentity::Field { field: "config path" });
    }
    // Git gives this to a shell.
    Ok(format!("ssh -F '{}'", config_path.replace('\'', r"'\''")))
}

/// Checks accepted host keys and returns the content of a known hosts file.
pub fn known_hosts_file(known_hosts: &str) -> Result<String, InvalidIdentity> {
    let mut text = String::with_capacity(known_hosts.len() + 1);
    let mut count = 0;
    for (index, line) in known_hosts.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid = InvalidIdentity::HostKey { line: index + 1 };
        if line.contains(char::is_control) {
            return Err(invalid);
        }
        let mut words = line.split_ascii_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        if marker.is_some_and(|marker| marker != "@cert-authority" && marker != "@revoked") {
            return Err(invalid);
        }
        let (Some(_hosts), Some(kind), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return Err(invalid);
        };
        let is_kind = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start));
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        if !is_kind || key.len() < 16 || !key.bytes().all(is_base64) {
            return Err(invalid);
        }
        count += usize::from(marker != Some("@revoked"));
        text.push_str(line);
        text.push('\n');
    }
    if count == 0 { Err(InvalidIdentity::NoHostKey) } else { Ok(text) }
}

/// Checks a private key and returns the content of an identity file: OpenSSH insists on the
/// newline at its end, which people lose when they paste.
pub fn key_file(private_key: &str) -> Result<String, InvalidIdentity> {
    let text = private_key.replace("\r\n", "\n");
    let text = text.trim();
    let is_pem = text.starts_with("-----BEGIN ")
        && text.ends_with("-----")
        && text.contains("PRIVATE KEY-----\n")
        && !text.contains('\0');
    if is_pem { Ok(format!("{text}\n")) } else { Err(InvalidIdentity::PrivateKey) }
}

fn split_port(authority: &str) -> (&str, &str) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "22"),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Escapes a path for a quoted value in which `%` starts a token.
fn path(field: &'static str, path: &str) -> Result<String, InvalidIdentity> {
    let is_bad = |letter: char| letter.is_control() || matches!(letter, '"' | '\\' | '$');
    if path.is_empty() || path.contains(is_bad) {
        Err(InvalidIdentity::Field { field })
    } else {
        Ok(path.replace('%', "%%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST_KEY: &str = "h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6";

    fn identity() -> Identity {
        Identity {
            alias: "keyferry-app".into(),
            host: Address::parse("ssh://git.example.com:2222").unwrap(),
            username: "git".into(),
            key_path: "/run/job 1/100%/key".into(),
            known_hosts_path: "/run/job/known_hosts".into(),
        }
    }

    #[test]
    fn a_key_goes_to_its_host_and_no_other() {
        let text = config_file(&[identity()]).unwrap();
        assert!(text.contains("Host keyferry-app\n  HostName git.example.com\n  Port 2222\n"));
        assert!(text.contains("HostKeyAlias [git.example.com]:2222\n"));
        assert!(text.contains("IdentityFile \"/run/job 1/100%%/key\"\n"));
        let rest = text.split("Host *").nth(1).unwrap();
        assert!(!rest.contains("IdentityFile"));
        assert!(rest.contains("IdentityAgent none"));
    }

    #[test]
    fn the_host_is_always_checked() {
        for text in [config_file(&[]).unwrap(), config_file(&[identity()]).unwrap()] {
            assert!(text.contains("StrictHostKeyChecking yes"));
            assert_eq!(text.matches("StrictHostKeyChecking").count(), 1);
        }
    }

    #[test]
    fn the_usual_port_is_not_in_the_name_of_the_host_key() {
        let host = Address::parse("ssh://git.example.com").unwrap();
        let text = config_file(&[Identity { host, ..identity() }]).unwrap();
        assert!(text.contains("Port 22\n") && text.contains("HostKeyAlias git.example.com\n"));
        let host = Address::parse("ssh://[::1]:2222").unwrap();
        let text = config_file(&[Identity { host, ..identity() }]).unwrap();
        assert!(text.contains("HostName ::1\n") && text.contains("HostKeyAlias [::1]:2222\n"));
    }

    #[test]
    fn options_cannot_be_smuggled_in() {
        for name in ["git\n  ProxyCommand id", "-oProxyCommand=id", "a b", "", "a\"", "git%h"] {
            assert!(config_file(&[Identity { username: name.into(), ..identity() }]).is_err());
            assert!(config_file(&[Identity { alias: name.into(), ..identity() }]).is_err());
        }
        for path in ["/a\"b", "/a\nProxyCommand x", "${HOME}/x", ""] {
            assert!(config_file(&[Identity { key_path: path.into(), ..identity() }]).is_err());
        }
    }

    #[test]
    fn the_command_survives_a_shell() {
        assert_eq!(git_ssh_command("/a b/it's").unwrap(), r"ssh -F '/a b/it'\''s'");
        assert!(git_ssh_command("/a\nb").is_err());
    }

    #[test]
    fn a_server_without_a_host_key_is_refused() {
        for text in ["", "\n\n", "# nothing", "@revoked h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6"]
        {
            assert_eq!(known_hosts_file(text), Err(InvalidIdentity::NoHostKey), "{text}");
        }
    }

    #[test]
    fn lines_that_are_no_host_keys_are_refused() {
        for text in
            ["h", "h ssh-ed25519", "h rsa AAAA", "h ssh-rsa !!!!!!!!!!!!!!!!!!!", "@x h y z"]
        {
            assert_eq!(known_hosts_file(text), Err(InvalidIdentity::HostKey { line: 1 }), "{text}");
        }
        assert_eq!(known_hosts_file(&format!("\n  {HOST_KEY} \r\n")), Ok(format!("{HOST_KEY}\n")));
    }

    #[test]
    fn a_pasted_key_gets_its_last_newline_back() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\r\nabc\r\n-----END OPENSSH PRIVATE KEY-----";
        assert!(key_file(key).unwrap().ends_with("-----END OPENSSH PRIVATE KEY-----\n"));
        assert!(!key_file(key).unwrap().contains('\r'));
        for text in
            ["", "ssh-ed25519 AAAA", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
        {
            assert_eq!(key_file(text), Err(InvalidIdentity::PrivateKey));
        }
    }
}
