// Dates as HTTP writes them. It reads no clock and knows no time zone but UTC.

/// IMF-fixdate (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`, always 29 bytes.
public struct HTTPDate: Sendable {
    public let bytes: InlineArray<29, UInt8>

    /// - Parameter seconds: since 1970, UTC, up to the year 9999.
    public init(seconds: Int64) {
        let clamped = min(max(seconds, 0), 253_402_300_799)
        let days = Int(clamped / 86_400)
        let rest = Int(clamped % 86_400)
        let (year, month, day) = CivilDate.of(days)
        let dayNames: StaticString = "ThuFriSatSunMonTueWed"
        let monthNames: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
        var text = InlineArray<29, UInt8>(repeating: 0x20)
        func put(_ value: Int, digits: Int, at position: Int) {
            var value = value
            for index in stride(from: position + digits - 1, through: position, by: -1) {
                text[index] = UInt8(truncatingIfNeeded: 0x30 + value % 10)
                value /= 10
            }
        }
        for index in 0..<3 {
            text[index] = ByteScan.byte(dayNames, days % 7 * 3 + index)
            text[8 + index] = ByteScan.byte(monthNames, (month - 1) * 3 + index)
            text[26 + index] = ByteScan.byte("GMT", index)
        }
        text[3] = UInt8(ascii: ",")
        put(day, digits: 2, at: 5)
        put(year, digits: 4, at: 12)
        put(rest / 3600, digits: 2, at: 17)
        text[19] = UInt8(ascii: ":")
        put(rest / 60 % 60, digits: 2, at: 20)
        text[22] = UInt8(ascii: ":")
        put(rest % 60, digits: 2, at: 23)
        bytes = text
    }

}

/// The Gregorian calendar.
public enum CivilDate {
    /// `2026-11-21T05:54:32.123Z` (RFC 3339), for logs.
    /// - Parameter seconds: since 1970, UTC.
    public static func timestamp(_ seconds: Double) -> String {
        let milliseconds = Int((max(0, seconds) * 1000).rounded(.down))
        let inDay = milliseconds % 86_400_000
        let (year, month, day) = of(milliseconds / 86_400_000)
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(inDay / 3_600_000, 2)):"
            + "\(padded(inDay / 60_000 % 60, 2)):\(padded(inDay / 1000 % 60, 2)).\(padded(inDay % 1000, 3))Z"
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    /// Days since 1970 as a date of the Gregorian calendar: years that begin in March put the leap day last, and 400 of
    /// them have 146,097 days.
    static func of(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
