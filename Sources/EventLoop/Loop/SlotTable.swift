// Objects by slot and generation: how an event or a deadline finds its object, or finds that it has gone.

/// A table of objects of one kind. Slots are used again; the generation tells tenants apart.
public struct SlotTable<Element: AnyObject> {
    private let kind: UInt8
    private var elements: [Element?] = []
    private var generations: [UInt32] = []
    private var free: [Int] = []
    public private(set) var count = 0

    /// - Parameter kind: of the tokens it makes.
    public init(kind: UInt8) { self.kind = kind }

    /// Puts in what `make` makes for its token.
    public mutating func insert(_ make: (Token) -> Element) -> Element {
        let slot = free.popLast() ?? elements.count
        if slot == elements.count {
            elements.append(nil)
            generations.append(0)
        }
        let element = make(Token(kind: kind, slot: slot, generation: generations[slot]))
        elements[slot] = element
        count += 1
        return element
    }

    /// The object that `token` was made for, unless it was removed.
    public subscript(token: Token) -> Element? {
        let slot = token.slot
        guard slot < elements.count, generations[slot] == token.generation else { return nil }
        return elements[slot]
    }

    public mutating func remove(_ token: Token) {
        guard self[token] != nil else { return }
        elements[token.slot] = nil
        generations[token.slot] = (generations[token.slot] + 1) & 0xff_ffff
        free.append(token.slot)
        count -= 1
    }

    /// Every object, in the order of slots.
    public var all: [Element] { elements.compactMap { $0 } }
}
