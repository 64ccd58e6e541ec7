// Package spelling tells how near a word is to the one that was probably meant.
package spelling

// longest is the longest word that is compared: no name is as long.
const longest = 256

// Distance is the least number of bytes to insert, delete or replace, or of
// neighbours to swap, to make b of a (the optimal string alignment of Damerau
// and Levenshtein). Words that are too long to be meant are as far apart as the
// longer one has bytes.
func Distance(a, b string) int {
	if max(len(a), len(b)) > longest {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
