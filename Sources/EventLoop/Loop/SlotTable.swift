// Objects by slot and generation: how an event or a deadline finds its object, or finds that it has gone.

/// A table of objects of one kind. Slots are used again; the generation tells tenants apart.
///
/// Inlinable, unlike the rest of this module: unspecialised, each look-up would go through runtime metadata.
public struct SlotTable<Element: AnyObject> {
    @usableFromInline let kind: UInt8
    @usableFromInline var elements: [Element?] = []
    @usableFromInline var generations: [UInt32] = []
    @usableFromInline var free: [Int] = []
    @usableFromInline var used = 0

    @inlinable public var count: Int { used }

    /// - Parameter kind: of the tokens it makes.
    @inlinable public init(kind: UInt8) { self.kind = kind }

    /// Puts in what `make` makes for its token.
    @inlinable public mutating func insert(_ make: (Token) -> Element) -> Element {
        let slot = free.popLast() ?? elements.count
        if slot == elements.count {
            elements.append(nil)
            generations.append(0)
        }
        let element = make(Token(kind: kind, slot: slot, generation: generations[slot]))
        elements[slot] = element
        used += 1
        return element
    }

    /// The object that `token` was made for, unless it was removed.
    @inlinable public subscript(token: Token) -> Element? {
        let slot = token.slot
        guard slot < elements.count, generations[slot] == token.generation else { return nil }
        return elements[slot]
    }

    @inlinable public mutating func remove(_ token: Token) {
        guard self[token] != nil else { return }
        elements[token.slot] = nil
        generations[token.slot] = (generations[token.slot] + 1) & 0xff_ffff
        free.append(token.slot)
        used -= 1
    }

    /// Every object, in the order of slots.
    @inlinable public var all: [Element] { elements.compactMap { $0 } }
}
