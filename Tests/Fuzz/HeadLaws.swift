// What holds for heads of either kind: which fields of one must be found again in the head that was written from it.

/// The fields that go on to the next hop unchanged, as `name: value` lines, but for `replaced`.
func lines(_ head: borrowing MessageHead, _ bytes: [UInt8], except replaced: FieldNames, underscores: Bool) -> [String]
{
    let never = replaced.union(
        FieldNames(
            .connection, .keepAlive, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade, .http2Settings,
            .contentLength, .proxyAuthenticate, .proxyAuthorization))
    let named = options(head, bytes)
    var found: [String] = []
    for index in 0..<head.fieldCount {
        let field = head.field(index)
        let name = String(decoding: bytes[field.name.indices], as: UTF8.self).lowercased()
        if never.contains(field.known) || field.hasUnderscore && !underscores { continue }
        if named.contains(name), field.known == .other { continue }
        if named.contains(name), ![.date, .host].contains(field.known) { continue }
        found.append("\(name): \(Array(bytes[field.value.indices]))")
    }
    return found
}

/// The names in Connection fields. Bytes, never characters: a mark that combines with a comma would hide it.
private func options(_ head: borrowing MessageHead, _ bytes: [UInt8]) -> Set<String> {
    var found: Set<String> = []
    for index in 0..<head.fieldCount where head.field(index).known == .connection {
        for part in bytes[head.field(index).value.indices].split(separator: UInt8(ascii: ",")) {
            let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
            let name = part.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
            found.insert(String(decoding: Array(name), as: UTF8.self).lowercased())
        }
    }
    return found
}
