// What the fuzz targets share. Scripts/soak builds each target in one module with the sources that it calls, the imports
// between them taken out.

/// The bytes of one input.
func input(_ data: UnsafePointer<UInt8>, _ count: Int) -> [UInt8] {
    unsafe [UInt8](UnsafeBufferPointer(start: data, count: count))
}

/// Two ways in which `bytes` may arrive: whole, and in two pieces at a place that the first byte decides.
func arrivals(_ bytes: [UInt8]) -> (whole: [Int], split: [Int]) {
    guard bytes.count > 1 else { return ([bytes.count], [bytes.count]) }
    let split = 1 + Int(bytes[0]) * 251 % (bytes.count - 1)
    return ([bytes.count], [split, bytes.count])
}

/// What `body` writes into a span of `capacity` bytes.
func written(_ capacity: Int = 400_000, _ body: (inout OutputSpan<UInt8>) -> Void) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
        var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
        body(&output)
        count = unsafe output.finalize(for: buffer)
    }
}

/// Whether the limits are small for this input: the longest one is shorter than their defaults.
func isTight(_ bytes: [UInt8]) -> Bool { bytes.last.map { $0 & 1 == 1 } ?? false }
