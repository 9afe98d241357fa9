//! Named values: handed over as they are, never called healthy.

use std::collections::BTreeMap;

use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::Narrowing;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::secret::SecretBytes;
use keyferry_providers::{OpenCredential, ProviderError};

use crate::world::{Connection, git, registry};

fn connection() -> Connection {
    let credential = OpenCredential {
        kind: CredentialKind::Values,
        public: BTreeMap::new(),
        secrets: [("API_KEY".to_owned(), "canary-value".into())].into(),
        files: [("ca.crt".to_owned(), SecretBytes::new(vec![0, 1, 255]))].into(),
    };
    Connection::new("generic", &[], credential)
}

#[tokio::test]
async fn values_and_files_are_handed_over_as_residue() {
    let connection = connection();
    let plan = connection.plan(&Operation::Material, "lease_1");
    assert_eq!((plan.narrowing.clone(), plan.handle.clone()), (Narrowing::Stored, None));
    let issued = connection.issue(&Operation::Material, &plan).await.unwrap();
    assert!(!format!("{issued:?}").contains("canary"));
    assert!(issued.residue.is_some());
    let Material::Values { values, files } = issued.material else { panic!("other material") };
    assert_eq!(values["API_KEY"].expose(), "canary-value");
    assert_eq!(files["ca.crt"].expose(), &[0, 1, 255]);
}

#[tokio::test]
async fn values_are_never_healthy() {
    let connection = connection();
    assert!(!connection.provider.kind().can_verify);
    let error = connection.verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error}");
}

#[test]
fn values_do_not_sign_in_anywhere() {
    let connection = connection();
    for operation in [git(None, Access::Read), registry(Access::Write)] {
        let error = connection.provider.plan(connection.target(), &operation, "x").unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
    }
    assert!(connection.provider.repositories().is_none());
}
