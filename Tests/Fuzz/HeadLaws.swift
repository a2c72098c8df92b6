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

private func options(_ head: borrowing MessageHead, _ bytes: [UInt8]) -> Set<String> {
    var found: Set<String> = []
    for index in 0..<head.fieldCount where head.field(index).known == .connection {
        let value = String(decoding: bytes[head.field(index).value.indices], as: UTF8.self).lowercased()
        for part in value.split(separator: ",") {
            found.insert(
                String(part.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed()))
        }
    }
    return found
}
