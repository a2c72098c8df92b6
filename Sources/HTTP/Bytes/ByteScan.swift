// Looking through and copying bytes many at a time. The one place in this module that reads memory by address;
// every such access is checked against the span's bounds first. It knows byte classes, not messages.

/// Byte classes and searches over borrowed bytes.
public enum ByteScan {
    /// RFC 9110, 5.6.2: `tchar`, as two bit sets of 64.
    private static let tokenLow: UInt64 = 0x03ff_6cfa_0000_0000
    private static let tokenHigh: UInt64 = 0x57ff_ffff_c7ff_fffe

    public static func isTokenByte(_ byte: UInt8) -> Bool {
        if byte < 64 { return tokenLow >> UInt64(byte) & 1 != 0 }
        return byte < 128 && tokenHigh >> UInt64(byte & 63) & 1 != 0
    }

    public static func isToken(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        var index = range.start
        while index < range.end {
            if !isTokenByte(bytes[index]) { return false }
            index += 1
        }
        return range.count > 0
    }

    /// The first index at or after `start` whose byte is below 0x20 or is 0x7f; `bytes.count` when there is none.
    public static func firstControl(in bytes: Span<UInt8>, from start: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops: UInt64 = 0x8080_8080_8080_8080
        var index = start
        while index + 8 <= bytes.count {
            let word = load(bytes, at: index)
            let belowSpace = (word &- 0x20 &* ones) & ~word
            let delete = word ^ (0x7f &* ones)
            let isDelete = (delete &- ones) & ~delete
            let found = (belowSpace | isDelete) & tops
            // Borrows only travel upwards, so the lowest mark is exact.
            if found != 0 { return index + found.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < bytes.count, bytes[index] >= 0x20, bytes[index] != 0x7f { index += 1 }
        return index
    }

    /// The first index of a line feed at or after `start`; nil when there is none.
    public static func firstLineFeed(in bytes: Span<UInt8>, from start: Int) -> Int? {
        let tops: UInt64 = 0x8080_8080_8080_8080
        var index = start
        // Events are a few hundred bytes: four words at a time, until one of them may hold it.
        while index + 32 <= bytes.count {
            let marks =
                lineFeeds(load(bytes, at: index)) | lineFeeds(load(bytes, at: index + 8))
                | lineFeeds(load(bytes, at: index + 16)) | lineFeeds(load(bytes, at: index + 24))
            if marks & tops != 0 { break }
            index += 32
        }
        while index + 8 <= bytes.count {
            let found = lineFeeds(load(bytes, at: index)) & tops
            if found != 0 { return index + found.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < bytes.count {
            if bytes[index] == 0x0a { return index }
            index += 1
        }
        return nil
    }

    /// Marks the top bit of each byte that is a line feed, the lowest one exactly.
    private static func lineFeeds(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let zeros = word ^ (0x0a &* ones)
        return (zeros &- ones) & ~zeros
    }

    /// Whether the bytes of `range` are `text`, letters compared without case. `text` is ASCII.
    public static func equal(_ bytes: Span<UInt8>, _ range: ByteRange, ignoringCaseOf text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        var index = 0
        while index < range.count {
            // The literal lives as long as the process and `index` is below its length.
            let expected = unsafe text.utf8Start[index]
            if lowercased(bytes[range.start + index]) != lowercased(expected) { return false }
            index += 1
        }
        return true
    }

    /// Whether two stretches hold the same bytes, letters compared without case.
    public static func equal(_ bytes: Span<UInt8>, _ left: ByteRange, ignoringCaseOf right: ByteRange) -> Bool {
        guard left.count == right.count else { return false }
        var index = 0
        while index < left.count {
            if lowercased(bytes[left.start + index]) != lowercased(bytes[right.start + index]) { return false }
            index += 1
        }
        return true
    }

    /// The byte at `index`, below its length, of an ASCII literal.
    static func byte(_ text: StaticString, _ index: Int) -> UInt8 {
        precondition(index >= 0 && index < text.utf8CodeUnitCount)
        return unsafe text.utf8Start[index]
    }

    public static func lowercased(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    /// `1*DIGIT` as a number that fits 63 bits; nil for anything else, a sign, blanks and overflow included.
    public static func decimal(_ bytes: Span<UInt8>, _ range: ByteRange) -> UInt64? {
        guard range.count > 0 else { return nil }
        var value: UInt64 = 0
        for index in range.indices {
            let digit = bytes[index] &- 0x30
            guard digit < 10 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry, sum <= UInt64(Int64.max) else { return nil }
            value = sum
        }
        return value
    }

    /// `range` without blanks (SP, HTAB) at either end.
    public static func trimmed(_ bytes: Span<UInt8>, _ range: ByteRange) -> ByteRange {
        var start = range.start
        var end = range.end
        while start < end, isBlank(bytes[start]) { start += 1 }
        while end > start, isBlank(bytes[end - 1]) { end -= 1 }
        return ByteRange(start: start, count: end - start)
    }

    /// Calls `body` with each comma-separated, trimmed element, empty ones included (RFC 9110, 5.6.1).
    public static func forEachElement(_ bytes: Span<UInt8>, _ value: ByteRange, _ body: (ByteRange) -> Void) {
        var start = value.start
        for index in value.start...value.end where index == value.end || bytes[index] == UInt8(ascii: ",") {
            body(trimmed(bytes, ByteRange(start: start, count: index - start)))
            start = index + 1
        }
    }

    public static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static func load(_ bytes: Span<UInt8>, at index: Int) -> UInt64 {
        // Any eight bytes are a UInt64; the span checks that all eight lie inside.
        UInt64(littleEndian: unsafe bytes.bytes.unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self))
    }
}

extension OutputSpan<UInt8> {
    /// Appends as many of `bytes` as there is room for. A span that ends up full is an overflow: see `HeadWriter`.
    public mutating func put(_ bytes: Span<UInt8>) {
        let count = Swift.min(bytes.count, freeCapacity)
        guard count > 0 else { return }
        unsafe bytes.withUnsafeBufferPointer { source in
            unsafe put(source.baseAddress!, count: count)
        }
    }

    /// Appends as much of the ASCII literal as there is room for.
    public mutating func put(_ text: StaticString) {
        let count = Swift.min(text.utf8CodeUnitCount, freeCapacity)
        guard count > 0 else { return }
        unsafe put(text.utf8Start, count: count)
    }

    public mutating func put(_ byte: UInt8) {
        if freeCapacity > 0 { append(byte) }
    }

    /// Appends `number` in decimal, or in lower-case hexadecimal.
    public mutating func put(_ number: UInt64, radix: UInt64 = 10) {
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var rest = number
        var first = 20
        repeat {
            first -= 1
            let digit = UInt8(truncatingIfNeeded: rest % radix)
            digits[first] = digit < 10 ? 0x30 + digit : 0x57 + digit
            rest /= radix
        } while rest > 0
        put(digits.span.extracting(first..<20))
    }

    private mutating func put(_ source: UnsafePointer<UInt8>, count: Int) {
        unsafe withUnsafeMutableBufferPointer { target, used in
            // The callers made `count` fit both the source and the free part of the target.
            unsafe UnsafeMutableRawPointer(target.baseAddress! + used).copyMemory(from: source, byteCount: count)
            used += count
        }
    }
}
