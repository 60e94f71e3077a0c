package authority

import "slices"

// A signed zone cannot know ahead which places are asked from, but it can which addresses an answer may hold: any few
// of those that there are. As long as these sets are not too many, all of them are signed ahead. A mirror that leaves
// or comes back then needs no new signature, as the sets without it, or with it, have theirs.

// maxNearSets bounds the sets of addresses of a family that answers by place are made of in a signed zone.
const maxNearSets = 4096

// nearSize is how many addresses an answer by place may have in a signed zone, of so many that there are; 0 if all get
// the same answers.
func nearSize(addresses, answers int) int {
	sets, all := 1, 0
	for size := range answers {
		sets = sets * (addresses - size) / (size + 1) // that have one address more
		if all += sets; all > maxNearSets {
			return size
		}
	}
	return answers
}

// addAll adds all sets of up to size of so many addresses.
func (s *cardSets) addAll(addresses, size int) {
	var add func(card []int32, from int)
	add = func(card []int32, from int) {
		for next := from; next < addresses; next++ {
			longer := append(slices.Clone(card), int32(next))
			s.add(longer)
			if len(longer) < size {
				add(longer, next+1)
			}
		}
	}
	if size > 0 {
		add(nil, 0)
	}
}
