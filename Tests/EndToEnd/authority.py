"""Certificates for tests: an authority that issues whatever a test needs, good or not."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def make_key(kind):
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general(name):
    """A name in a certificate, by its form."""
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Issued:
    """A certificate with its key, in files."""

    def __init__(self, folder, certificate, key, passphrase=None):
        self.folder, self.certificate, self.key = folder, certificate, key
        self.write(folder / "cert.pem", folder / "key.pem", passphrase)

    def write(self, path, key_path, passphrase=None):
        sealing = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        self.path, self.key_path = path, key_path
        # As a careful administrator does it: whole files take the place of the old ones.
        pieces = [(path, self.certificate.public_bytes(serialization.Encoding.PEM)),
                  (key_path, self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing))]
        for target, data in pieces:
            fresh = target.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.chmod(0o600)
            fresh.rename(target)

    @property
    def serial(self):
        return self.certificate.serial_number

    @property
    def fingerprint(self):
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def lines(self):
        """What a [tls] says of it."""
        return f"certificate = {self.path}\nkey = {self.key_path}"


class Authority:
    def __init__(self, folder, name="test authority"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = make_key("ec")
        self.name = name_of(name)
        self.certificate = (
            x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name).public_key(self.key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(NOW - DAY).not_valid_after(NOW + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .sign(self.key, hashes.SHA256()))
        self.path = folder / "authority.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.count = 0

    def issue(self, *names, kind="ec", days=20, began=1, client=False, common=None, passphrase=None):
        """A certificate for `names`; negative `days` have passed already."""
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        key = make_key(kind)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder().subject_name(name_of((common or (names or ("nobody",))[0])[:64]))
            .issuer_name(self.name).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(NOW - (began + max(0, -days)) * DAY).not_valid_after(NOW + days * DAY)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
        return Issued(folder, builder.sign(self.key, hashes.SHA256()), key, passphrase)

    def revoke(self, *issued):
        """A revocation list with these on it; its path."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW - DAY).next_update(
            NOW + 10 * DAY)
        for one in issued:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(NOW - DAY).build())
        path = self.folder / "revoked.crl"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
