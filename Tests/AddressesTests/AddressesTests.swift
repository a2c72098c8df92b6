// Tables of addresses and ranges, good and bad.
import Addresses
import Testing

@Suite struct AddressesTests {
    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("::", "::"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:DB8::A", "2001:db8::a"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("1::8", "1::8"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"), ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
    ]) func addressesPrintCanonically(_ text: String, _ canonical: String) {
        #expect(IPAddress(text)?.description == canonical)
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "a.b.c.d", ":", ":::", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "fe80::1%eth0", "1.2.3.4::", "::1.2.3", "::g", "1:2:3:4:5:6:7::8",
    ]) func badAddressesAreRefused(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func mappedAddressesAreIPv4() {
        #expect(IPAddress("::ffff:1.2.3.4") == IPAddress("1.2.3.4"))
        #expect(IPAddress("::ffff:1.2.3.4")?.isIPv4 == true)
        #expect(IPAddress("127.9.9.9")?.isLoopback == true)
        #expect(IPAddress("::1")?.isLoopback == true)
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.0", false), ("0.0.0.0/0", "9.9.9.9", true),
        ("0.0.0.0/0", "::1", false), ("2001:db8::/32", "2001:db8:1::", true), ("2001:db8::/32", "2001:db9::", false),
        ("::/0", "1.2.3.4", true), ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.8", false),
        ("10.1.2.3/31", "10.1.2.2", true),
    ]) func ranges(_ range: String, _ address: String, _ isInside: Bool) throws {
        let range = try #require(CIDR(range))
        #expect(range.contains(try #require(IPAddress(address))) == isInside)
    }

    @Test(arguments: ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/a", "10.0.0.0/8/8", "a/8", "10.0.0.0/-1"])
    func badRangesAreRefused(_ text: String) { #expect(CIDR(text) == nil) }

    @Test func endpointsPrintWithBrackets() {
        #expect(Endpoint(.loopback, port: 80).description == "127.0.0.1:80")
        #expect(Endpoint(.anyIPv6, port: 80).description == "[::]:80")
    }
}
