//! Certificates for tests: a CA, and what it signs, as files of an app's directory.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::AppDir;

/// A CA that lives as long as the test.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Ca {
    /// One of this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What trusts it, PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names; the first is the subject's, too.
    pub(crate) fn signs(&self, names: &[&str]) -> Pair {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        Pair { chain: signed.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    /// Written as `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, dir: &AppDir, name: &str) {
        std::fs::write(dir.path().join(format!("{name}.key")), &self.key).unwrap();
        std::fs::write(dir.path().join(format!("{name}.pem")), &self.chain).unwrap();
    }
}
