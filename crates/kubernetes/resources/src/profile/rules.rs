//! What can be told of a profile without looking anywhere else.

use crate::cel::Rules;

pub(super) const PROFILE_SPEC: Rules = Rules(&[
    (
        "self.type != 'Location' || (has(self.locationSpec) && !has(self.infra))",
        "type Location needs locationSpec and excludes infra",
    ),
    (
        "self.type != 'Infra' || (has(self.infra) && !has(self.locationSpec))",
        "type Infra needs infra and excludes locationSpec",
    ),
]);

pub(super) const LOCATION: Rules = Rules(&[
    ("self.type != 'ObjectStore' || has(self.objectStore)", "type ObjectStore needs objectStore"),
    (
        "self.type != 'ObjectStore' || (has(self.credential) && has(self.credential.secret) \
         && has(self.credential.secret.name) && self.credential.secret.name != '')",
        "type ObjectStore needs credential.secret.name",
    ),
    ("self.type != 'FileStore' || has(self.fileStore)", "type FileStore needs fileStore"),
    ("self.type != 'VBR' || has(self.vbr)", "type VBR needs vbr"),
]);

const PLAIN_PATH: (&str, &str) =
    ("!has(self.path) || !self.path.split('/').exists(part, part == '..')", "path may not contain '..'");

pub(super) const OBJECT_STORE: Rules = Rules(&[
    PLAIN_PATH,
    (
        "!(self.objectStoreType in ['VeeamVaultAzure', 'VeeamVault']) || has(self.protectionPeriod)",
        "a Veeam Vault on Azure needs protectionPeriod",
    ),
]);

pub(super) const FILE_STORE: Rules = Rules(&[PLAIN_PATH]);

pub(super) const INFRA: Rules = Rules(&[
    ("self.type != 'Azure' || has(self.azure)", "type Azure needs azure"),
    ("self.type != 'OpenStack' || has(self.openStack)", "type OpenStack needs openStack"),
    ("self.type != 'Portworx' || has(self.portworx)", "type Portworx needs portworx"),
    ("self.type != 'VSphere' || has(self.vsphere)", "type VSphere needs vsphere"),
]);
