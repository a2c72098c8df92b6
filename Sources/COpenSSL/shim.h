/* OpenSSL 3 as Swift needs it: its headers, and the macros among them as functions. Declarations and static inline shims
   only; no logic. */
#ifndef BALLAST_COPENSSL_SHIM_H
#define BALLAST_COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

/* Contexts */
static inline int copenssl_set_min_version(SSL_CTX *context, int version) {
    return SSL_CTX_set_min_proto_version(context, version);
}
static inline long copenssl_set_mode(SSL_CTX *context, long mode) { return SSL_CTX_set_mode(context, mode); }
static inline void copenssl_set_read_ahead(SSL_CTX *context, long on) { SSL_CTX_set_read_ahead(context, on); }
static inline long copenssl_set_cache_mode(SSL_CTX *context, long mode) {
    return SSL_CTX_set_session_cache_mode(context, mode);
}
static inline int copenssl_set_groups(SSL_CTX *context, const char *list) {
    return (int)SSL_CTX_set1_groups_list(context, list);
}
static inline int copenssl_add_chain(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}
static inline void copenssl_set_ticket_callback(
    SSL_CTX *context,
    int (*callback)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int)) {
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, callback);
}

/* Connections */
static inline int copenssl_set_server_name(SSL *connection, const char *name) {
    return (int)SSL_set_tlsext_host_name(connection, name);
}
static inline int copenssl_set_own_groups(SSL *connection, const char *list) {
    return (int)SSL_set1_groups_list(connection, list);
}
static inline int copenssl_set_minimum(SSL *connection, int version) {
    return (int)SSL_set_min_proto_version(connection, version);
}
static inline void *copenssl_owner(const SSL *connection) { return SSL_get_app_data(connection); }
static inline void copenssl_set_owner(SSL *connection, void *owner) { SSL_set_app_data(connection, owner); }

/* A ticket's HMAC: the parameters hold pointers, which C keeps alive. */
static inline int copenssl_set_digest_key(EVP_MAC_CTX *digest, unsigned char *key, size_t count) {
    OSSL_PARAM parameters[3] = {
        OSSL_PARAM_construct_octet_string("key", key, count),
        OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(digest, parameters);
}

/* BIOs */
static inline void copenssl_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void copenssl_retry_write(BIO *bio) { BIO_set_retry_write(bio); }
static inline void copenssl_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }

/* Errors */
static inline int copenssl_error_library(unsigned long error) { return ERR_GET_LIB(error); }
static inline int copenssl_error_reason(unsigned long error) { return ERR_GET_REASON(error); }

/* RFC 4514, with what is not ASCII escaped as it stands there. */
static const unsigned long copenssl_subject_form = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_UTF8_CONVERT;

/* Stacks */
static inline int copenssl_name_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline const GENERAL_NAME *copenssl_name(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}
static inline int copenssl_cipher_count(const STACK_OF(SSL_CIPHER) *ciphers) { return sk_SSL_CIPHER_num(ciphers); }
static inline const SSL_CIPHER *copenssl_cipher(const STACK_OF(SSL_CIPHER) *ciphers, int index) {
    return sk_SSL_CIPHER_value(ciphers, index);
}
static inline void copenssl_free_names(GENERAL_NAMES *names) { GENERAL_NAMES_free(names); }
/* The text of a DNS name, an e-mail address or a URI; the raw address of an IP address; nothing of other kinds. */
static inline const unsigned char *copenssl_name_bytes(const GENERAL_NAME *name, int *kind, int *count) {
    const ASN1_STRING *text = 0;
    *kind = name->type;
    switch (name->type) {
    case GEN_DNS: text = name->d.dNSName; break;
    case GEN_EMAIL: text = name->d.rfc822Name; break;
    case GEN_URI: text = name->d.uniformResourceIdentifier; break;
    case GEN_IPADD: text = name->d.iPAddress; break;
    default: *count = 0; return 0;
    }
    *count = ASN1_STRING_length(text);
    return ASN1_STRING_get0_data(text);
}

/* All suites are good; who wants ChaCha20 most, because its processor has no AES, gets it. */
static const uint64_t copenssl_options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
static const uint64_t copenssl_no_tickets = SSL_OP_NO_TICKET;

#endif
